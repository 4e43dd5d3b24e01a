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
/** EFI_FVB2_ERASE_POLARITY: erased bytes read as 0xFF; without it as 0. */
export const VOLUME_ERASE_POLARITY = 0x800;
/** The longest header accepted: real ones have a block map of one to a few entries. */
export const VOLUME_HEADER_BYTES_MAX = 512;

/** EFI_FV_BLOCK_MAP_ENTRY: the header ends in a list of them, closed by one of zeros. */
export const blockMapEntry = packed("EFI_FV_BLOCK_MAP", "PI 1.8, volume 3, 3.2.1.1", {
  numBlocks: u32,
  length: u32,
});

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
/** FFS_ATTRIB_DATA_ALIGNMENT and FFS_ATTRIB_DATA_ALIGNMENT2, which chooses the second half of the table. */
export const FILE_ATTRIBUTE_ALIGNMENT_SHIFT = 3;
export const FILE_ATTRIBUTE_ALIGNMENT_2 = 0x02;
/** Powers of two that a file's content is aligned to, by FFS_ATTRIB_DATA_ALIGNMENT2 and FFS_ATTRIB_DATA_ALIGNMENT. */
export const fileAlignmentShifts = [0, 4, 7, 9, 10, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24] as const;

/** PI 1.8, volume 3, 3.2.3.1, "EFI_FFS_FILE_STATE": a file is in the state of its highest bit. */
export const FILE_STATE_HEADER_VALID = 0x02;
export const FILE_STATE_DATA_VALID = 0x04;
export const FILE_STATE_MARKED_FOR_UPDATE = 0x08;
export const FILE_STATE_DELETED = 0x10;
export const FILE_STATE_HEADER_INVALID = 0x20;
/** HEADER_CONSTRUCTION, HEADER_VALID and DATA_VALID, inverted as in a volume that erases to 0xFF. */
export const FILE_STATE_VALID = 0xf8;
/** Files start at multiples of this from the start of their volume. */
export const FILE_ALIGNMENT_BYTES = 8;

export const FILE_TYPE_RAW = 0x01;
export const FILE_TYPE_DXE_CORE = 0x05;
export const FILE_TYPE_APPLICATION = 0x09;
/** Types from here on are defined by vendors or by the file system and hold no sections. */
export const FILE_TYPE_OEM_FIRST = 0xc0;
export const FILE_TYPE_PAD = 0xf0;
/** EFI_FFS_VOLUME_TOP_FILE_GUID: this file has to end where its volume ends. */
export const VOLUME_TOP_FILE = "1BA0062E-C779-4582-8566-336AE8F78F09";
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

/** Follows the section header of a compression section. */
export const compressionSection = packed("EFI_COMPRESSION_SECTION", "PI 1.8, volume 3, 3.2.5.2", {
  uncompressedLength: u32,
  compressionType: u8,
});

export const COMPRESSION_NONE = 0;
/** EFI_STANDARD_COMPRESSION: the algorithm of UEFI 2.10, chapter 19; some vendors' images hold edk2's variant. */
export const COMPRESSION_STANDARD = 1;
/** EFI_CUSTOMIZED_COMPRESSION in older edk2 images: LZMA-alone data. */
export const COMPRESSION_CUSTOMIZED = 2;

/** Sections start at multiples of this from the start of their file's or section's content. */
export const SECTION_ALIGNMENT_BYTES = 4;

export const SECTION_TYPE_COMPRESSION = 0x01;
export const SECTION_TYPE_GUIDED = 0x02;
export const SECTION_TYPE_DISPOSABLE = 0x03;
export const SECTION_TYPE_PE32 = 0x10;
export const SECTION_TYPE_TE = 0x12;
export const SECTION_TYPE_VERSION = 0x14;
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

/** Definitions of GUID-defined sections. LZMA-alone data with the size in their header. */
export const SECTION_LZMA = "EE4E5898-3914-4259-9D6E-DC7BD79403CF";
/** The same under GUIDs of HP's and Microsoft's own. */
export const SECTION_LZMA_HP = "0ED85E23-F253-413F-A03C-901987B04397";
export const SECTION_LZMA_MICROSOFT = "BD9921EA-ED91-404A-8B2F-B4D724747C8C";
/** The same, of data whose x86 jumps and calls were made absolute before. */
export const SECTION_LZMA_X86 = "D42AE6BD-1352-4BFB-909A-CA72A6EAE889";
/** edk2's variant of the UEFI compression. */
export const SECTION_TIANO = "A31280AD-481E-41B6-95E8-127F4C984779";
/** Brotli, behind a header of its own (edk2, MdeModulePkg/Library/BrotliCustomDecompressLib). */
export const SECTION_BROTLI = "3D532050-5CDA-4FD0-879E-0F7F630D5AFB";
/** EFI_GUIDED_SECTION_CRC32: a checksum in front of plain sections (PI 1.8, volume 3, 3.2.5.7). */
export const SECTION_CRC32 = "FC1BCDB0-7D31-49AA-936A-A4600D9DD083";

/** EFI_GUIDED_SECTION_PROCESSING_REQUIRED: the data are not plain sections. */
export const GUIDED_PROCESSING_REQUIRED = 0x01;

/** Between a CRC32 section's header and its data. */
export const crc32Section = packed("CRC32_SECTION_HEADER", "PI 1.8, volume 3, 3.2.5.7", { crc32: u32 });

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
