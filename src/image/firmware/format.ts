/**
 * Structures and numbers of firmware volumes, by the names of the UEFI Platform Initialization specification 1.8,
 * volume 3 (shared architectural elements).
 */
import { ascii, bytes, type FieldType, packed, u8, u16, u32, u64 } from "../../base/layout.ts";
import { guid } from "./guid.ts";

/** Sizes of files and sections are three bytes wide. */
const u24: FieldType<number> = {
  size: 3,
  align: 1,
  zero: 0,
  read: (view, at) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16),
  write: (view, at, value) => {
    view.setUint16(at, value & 0xffff, true);
    view.setUint8(at + 2, value >>> 16);
  },
};

/** The largest size the three-byte field can say, and the value that says "see ExtendedSize" in a section. */
export const SIZE_24_MAX = 0xff_ffff;

export const volumeHeader = packed("EFI_FIRMWARE_VOLUME_HEADER", "PI 1.8, volume 3, 3.2.1.1", {
  zeroVector: bytes(16),
  fileSystemGuid: guid,
  fvLength: u64,
  signature: ascii(4),
  attributes: u32,
  headerLength: u16,
  checksum: u16,
  extHeaderOffset: u16,
  reserved: u8,
  revision: u8,
});

export const volumeExtHeader = packed("EFI_FIRMWARE_VOLUME_EXT_HEADER", "PI 1.8, volume 3, 3.2.1.2", {
  fvName: guid,
  extHeaderSize: u32,
});

export const VOLUME_SIGNATURE = "_FVH";
/** EFI_FVB2_ERASE_POLARITY: erased bytes read as 0xFF. The only polarity in use, and the only one supported. */
export const VOLUME_ERASE_POLARITY = 0x800;

export const FILE_SYSTEM_FFS2 = "8C8CE578-8A3D-4F1C-9935-896185C32DD3";
export const FILE_SYSTEM_FFS3 = "5473C07A-3DCB-4DCA-BD6F-1E9689E7349A";

export const fileHeader = packed("EFI_FFS_FILE_HEADER", "PI 1.8, volume 3, 3.2.3.1", {
  name: guid,
  headerChecksum: u8,
  fileChecksum: u8,
  type: u8,
  attributes: u8,
  sizeBytes: u24,
  state: u8,
});

/** EFI_FFS_FILE_HEADER2 is the header with this after it. */
export const fileExtendedSize = packed("EFI_FFS_FILE_HEADER2.ExtendedSize", "PI 1.8, volume 3, 3.2.3.1", {
  extendedSize: u64,
});

export const FILE_ATTRIBUTE_LARGE = 0x01;
export const FILE_ATTRIBUTE_CHECKSUM = 0x40;
/** FFS_FIXED_CHECKSUM: what stands in for the file checksum when FFS_ATTRIB_CHECKSUM is off. */
export const FILE_FIXED_CHECKSUM = 0xaa;
/** HEADER_CONSTRUCTION, HEADER_VALID and DATA_VALID, inverted because of the erase polarity. */
export const FILE_STATE_VALID = 0xf8;
/** Files start at multiples of this from the start of their volume. */
export const FILE_ALIGNMENT_BYTES = 8;

export const FILE_TYPE_RAW = 0x01;
export const FILE_TYPE_APPLICATION = 0x09;
/** Types from here on are defined by vendors or by the file system and hold no sections. */
export const FILE_TYPE_OEM_FIRST = 0xc0;
export const FILE_TYPE_PAD = 0xf0;
/** The name of pad files. */
export const PAD_FILE_NAME = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF";

/** PI 1.8, volume 3, 2.1.4.1. */
export const fileTypeNames: Readonly<Record<number, string>> = {
  1: "raw",
  2: "freeform",
  3: "SEC core",
  4: "PEI core",
  5: "DXE core",
  6: "PEI module",
  7: "DXE driver",
  8: "PEI and DXE driver",
  9: "application",
  10: "MM module",
  11: "volume image",
  12: "MM and DXE driver",
  13: "MM core",
  14: "standalone MM module",
  15: "standalone MM core",
  240: "pad",
};

export const sectionHeader = packed("EFI_COMMON_SECTION_HEADER", "PI 1.8, volume 3, 3.2.4.1", {
  sizeBytes: u24,
  type: u8,
});

/** EFI_COMMON_SECTION_HEADER2 is the header with this after it. */
export const sectionExtendedSize = packed(
  "EFI_COMMON_SECTION_HEADER2.ExtendedSize",
  "PI 1.8, volume 3, 3.2.4.1",
  { extendedSize: u32 },
);

/** Follows the section header of a GUID-defined section. */
export const guidedSection = packed("EFI_GUID_DEFINED_SECTION", "PI 1.8, volume 3, 3.2.5.7", {
  definition: guid,
  dataOffset: u16,
  attributes: u16,
});

/** Sections start at multiples of this from the start of their file's or section's content. */
export const SECTION_ALIGNMENT_BYTES = 4;

export const SECTION_TYPE_GUIDED = 0x02;
export const SECTION_TYPE_PE32 = 0x10;
export const SECTION_TYPE_UI = 0x15;
export const SECTION_TYPE_VOLUME = 0x17;

/** PI 1.8, volume 3, 2.2.4. */
export const sectionTypeNames: Readonly<Record<number, string>> = {
  1: "compression",
  2: "GUID-defined",
  3: "disposable",
  16: "PE32",
  17: "PIC",
  18: "TE",
  19: "DXE depex",
  20: "version",
  21: "UI",
  22: "compatibility",
  23: "volume",
  24: "freeform GUID",
  25: "raw",
  27: "PEI depex",
  28: "MM depex",
};

/** Sections of this definition hold LZMA-alone data with the size in its header. */
export const SECTION_LZMA = "EE4E5898-3914-4259-9D6E-DC7BD79403CF";

/** The sum of bytes, modulo 256. */
export function sum8(data: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i] as number;
  return sum & 0xff;
}

/** The sum of little-endian 16-bit words, modulo 65,536. An odd last byte does not count. */
export function sum16(data: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i + 1 < data.length; i += 2) {
    sum += (data[i] as number) | ((data[i + 1] as number) << 8);
  }
  return sum & 0xffff;
}

/** The next multiple of `alignment`. */
export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/** All pieces in one array of its own. */
export function concatBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
