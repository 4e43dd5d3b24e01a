/**
 * What surrounds the volumes in vendors' files: the flash descriptor of Intel chipsets, which divides the flash chip into
 * regions, and update capsules, which wrap a flash image.
 */
import { bytes, packed, u32 } from "../../base/layout.ts";
import { type Guid, guid } from "./guid.ts";

const flashDescriptor = packed("Flash descriptor", "Intel chipset datasheets, SPI flash descriptor", {
  reserved: bytes(16),
  signature: u32,
  /** FLMAP0; bits 16 to 23 are the region section's address, in units of 16 bytes. */
  map0: u32,
});

const DESCRIPTOR_SIGNATURE = 0x0ff0_a55a;

/** FLREG: base in bits 0 to 14 and limit in bits 16 to 30, in units of 4096 bytes; unused when the base is above. */
const flashRegion = packed("FLREG", "Intel chipset datasheets, SPI flash descriptor", { baseAndLimit: u32 });
const REGION_UNIT_BYTES = 4096;
const REGION_MASK = 0x7fff;

/** By number. Chipsets before Skylake have the first five. */
const regionNames = [
  ...["descriptor", "BIOS", "ME", "GbE", "platform data"],
  ...["device expansion", "secondary BIOS", "microcode", "EC", "device expansion 2"],
  ...["IE", "10 GbE A", "10 GbE B"],
] as const;
/** Those that every chipset has; what the further registers hold means something on newer ones only. */
const CERTAIN_REGIONS = 5;

export interface FlashRegion {
  readonly name: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The regions of a whole flash chip's image; undefined when it has no descriptor. They may lie outside of a cut image. */
export function flashRegions(data: Uint8Array): readonly FlashRegion[] | undefined {
  if (data.length < REGION_UNIT_BYTES) return undefined;
  const { signature, map0 } = flashDescriptor.decode(data);
  if (signature !== DESCRIPTOR_SIGNATURE) return undefined;
  const table = ((map0 >>> 16) & 0xff) * 16;
  const regions: FlashRegion[] = [];
  for (const [index, name] of regionNames.entries()) {
    const at = table + index * flashRegion.size;
    if (at + flashRegion.size > REGION_UNIT_BYTES) break;
    const { baseAndLimit } = flashRegion.decode(data, at);
    const base = baseAndLimit & REGION_MASK;
    const limit = (baseAndLimit >>> 16) & REGION_MASK;
    const offset = base * REGION_UNIT_BYTES;
    const unused = base > limit || baseAndLimit === 0xffff_ffff || (baseAndLimit === 0 && index > 0);
    if (unused || (index >= CERTAIN_REGIONS && offset >= data.length)) continue;
    regions.push({ name, offset, sizeBytes: (limit - base + 1) * REGION_UNIT_BYTES });
  }
  return regions;
}

const capsuleHeader = packed("EFI_CAPSULE_HEADER", "UEFI 2.10, 8.5.3.1", {
  capsuleGuid: guid,
  headerSize: u32,
  flags: u32,
  capsuleImageSize: u32,
});

const capsuleNames: Readonly<Record<Guid, string>> = {
  "6DCBD5ED-E82D-4C44-BDA1-7194199AD92A": "UEFI firmware management capsule",
  "3B6686BD-0D76-4030-B70E-B5519E2FC5A0": "EFI capsule",
  "539182B9-ABB5-4391-B69A-E3A943F72FCC": "Intel update capsule",
  "4A3CA68B-7723-48FB-803D-578CC1FEC44D": "signed AMI Aptio capsule",
  "14EEBB90-890A-43DB-AED1-5D3C4588A418": "AMI Aptio capsule",
};

/** What kind of update capsule the file is, if one. */
export function capsuleName(data: Uint8Array): string | undefined {
  if (data.length < capsuleHeader.size) return undefined;
  return capsuleNames[capsuleHeader.decode(data).capsuleGuid];
}
