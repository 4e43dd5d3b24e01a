/**
 * Intel's Firmware Interface Table, of which one thing matters here: whether Boot Guard checks the flash before UEFI runs.
 * The processor finds the table by a pointer near the end of the flash, which is mapped so that it ends at 4 GiB.
 */
import { ascii, packed, u8, u16, u32 } from "../../base/layout.ts";

const FOUR_GIB = 0x1_0000_0000;
/** Where the pointer is, counted from the end. */
const FIT_POINTER_BEFORE_END = 0x40;

const fitPointer = packed("FIT pointer", "Intel FIT BIOS specification 1.4", { address: u32, high: u32 });

const fitHeader = packed("FIT header", "Intel FIT BIOS specification 1.4", {
  signature: ascii(8),
  /** Of 16 bytes, this one included; three bytes and a reserved one. */
  entries: u32,
  version: u16,
  type: u8,
  checksum: u8,
});

const fitEntry = packed("FIT entry", "Intel FIT BIOS specification 1.4", {
  address: u32,
  addressHigh: u32,
  size: u32,
  version: u16,
  /** The highest bit says that the checksum counts. */
  type: u8,
  checksum: u8,
});

const SIGNATURE = "_FIT_   ";
const TYPE_MASK = 0x7f;
/** Key manifest and boot policy manifest: by these Boot Guard knows what to check. */
const bootGuardTypes: ReadonlySet<number> = new Set([0x0b, 0x0c]);
/** Real tables have a few dozen. */
const ENTRIES_MAX = 1024;

/** Whether the flash names manifests of Intel Boot Guard. */
export function hasBootGuard(rom: Uint8Array): boolean {
  const pointerAt = rom.length - FIT_POINTER_BEFORE_END;
  if (pointerAt < 0) return false;
  const { address, high } = fitPointer.decode(rom, pointerAt);
  const tableAt = address - (FOUR_GIB - rom.length);
  if (high !== 0 || tableAt < 0 || tableAt + fitHeader.size > rom.length) return false;
  const header = fitHeader.decode(rom, tableAt);
  if (header.signature !== SIGNATURE) return false;
  const entries = Math.min(header.entries & 0xff_ffff, ENTRIES_MAX);
  for (let index = 1; index < entries; index++) {
    const at = tableAt + index * fitEntry.size;
    if (at + fitEntry.size > rom.length) return false;
    if (bootGuardTypes.has(fitEntry.decode(rom, at).type & TYPE_MASK)) return true;
  }
  return false;
}
