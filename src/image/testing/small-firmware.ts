/** Small firmware images made from trees, with the things that real ones have. */
import {
  COMPRESSION_NONE,
  COMPRESSION_STANDARD,
  compressionSection,
  crc32Section,
  FILE_SYSTEM_FFS2,
  FILE_TYPE_DXE_CORE,
  GUIDED_PROCESSING_REQUIRED,
  guidedSection,
  SECTION_CRC32,
  SECTION_LZMA,
  SECTION_LZMA_X86,
  SECTION_TIANO,
  SECTION_TYPE_COMPRESSION,
  SECTION_TYPE_GUIDED,
  SECTION_TYPE_PE32,
  SECTION_TYPE_UI,
  SECTION_TYPE_VOLUME,
  sum16,
  VOLUME_ERASE_POLARITY,
  VOLUME_SIGNATURE,
  volumeHeader,
} from "../firmware/format.ts";
import type { Guid } from "../firmware/guid.ts";
import type {
  CodecName,
  Encapsulation,
  FirmwareFile,
  FirmwareImage,
  Section,
  Volume,
} from "../firmware/tree.ts";

const BLOCK_BYTES = 512;

/** A volume of so many bytes (a multiple of 512) with these files. */
export function volumeOf(
  sizeBytes: number,
  files: readonly FirmwareFile[],
  { eraseByte = 0xff, fileSystem = FILE_SYSTEM_FFS2 }: { eraseByte?: number; fileSystem?: Guid } = {},
): Volume {
  const headerBytes = volumeHeader.size + 16; // block map: one entry and the end
  const prologue = new Uint8Array(headerBytes);
  volumeHeader.patch(prologue, 0, {
    fileSystemGuid: fileSystem,
    fvLength: sizeBytes,
    signature: VOLUME_SIGNATURE,
    attributes: eraseByte === 0 ? 0 : VOLUME_ERASE_POLARITY,
    headerLength: headerBytes,
    revision: 2,
  });
  const blocks = Buffer.from(prologue.buffer);
  blocks.writeUInt32LE(sizeBytes / BLOCK_BYTES, volumeHeader.size);
  blocks.writeUInt32LE(BLOCK_BYTES, volumeHeader.size + 4);
  volumeHeader.patch(prologue, 0, { checksum: -sum16(prologue) & 0xffff });
  return { kind: "volume", prologue, sizeBytes, fileSystem, eraseByte, files };
}

export function leaf(type: number, data: Uint8Array): Section {
  return { kind: "leaf", type, longHeader: false, data };
}

export function volumeSection(volume: Volume): Section {
  return { kind: "volume-section", type: SECTION_TYPE_VOLUME, longHeader: false, volume };
}

const guidedDefinitions = {
  lzma: SECTION_LZMA,
  "lzma-x86": SECTION_LZMA_X86,
  tiano: SECTION_TIANO,
  crc32: SECTION_CRC32,
} as const;

/** A section that stores others in that way. */
export function encapsulation(
  codec: Exclude<CodecName, "brotli">,
  children: readonly Section[],
): Encapsulation {
  const base = { kind: "encapsulation", codec, longHeader: false, children } as const;
  if (codec === "plain" || codec === "efi") {
    const compressionType = codec === "plain" ? COMPRESSION_NONE : COMPRESSION_STANDARD;
    return {
      ...base,
      type: SECTION_TYPE_COMPRESSION,
      header: compressionSection.encode({ compressionType }),
    };
  }
  const header = new Uint8Array(guidedSection.size + (codec === "crc32" ? crc32Section.size : 0));
  const attributes = codec === "crc32" ? 0 : GUIDED_PROCESSING_REQUIRED;
  guidedSection.patch(header, 0, { definition: guidedDefinitions[codec], attributes });
  return { ...base, type: SECTION_TYPE_GUIDED, header };
}

/** A file in use. */
export function fileOf(
  name: Guid,
  type: number,
  content: FirmwareFile["content"],
  { attributes = 0, eraseByte = 0xff }: { attributes?: number; eraseByte?: number } = {},
): FirmwareFile {
  return { name, type, attributes, state: 0x07 ^ eraseByte, content };
}

/** A PE program as short as can be, for the machine given; `rest` follows its header. */
export function program(machine: number, rest: Uint8Array): Uint8Array {
  const pe = Buffer.alloc(0x80 + rest.length);
  pe.write("MZ", 0);
  pe.writeUInt32LE(0x40, 0x3c);
  pe.write("PE\0\0", 0x40);
  pe.writeUInt16LE(machine, 0x44);
  pe.set(rest, 0x80);
  return new Uint8Array(pe);
}

/** A module with its name. */
export function moduleFile(
  name: Guid,
  type: number,
  text: string,
  pe: Uint8Array,
  eraseByte = 0xff,
): FirmwareFile {
  const ui = leaf(SECTION_TYPE_UI, new Uint8Array(Buffer.from(`${text}\0`, "utf16le")));
  return fileOf(name, type, [leaf(SECTION_TYPE_PE32, pe), ui], { eraseByte });
}

export const X64 = 0x8664;
export const SHELL = "7C04A583-9E3E-4F1C-AD65-E05268D0B4D1";
export const NETWORK_MODULE = "TcpDxe";
const DXE_CORE: Guid = "D6A2CB7F-6A18-4E2F-B43B-9920A733700A";
const TCP: Guid = "1A7E4468-2F55-4A56-903C-01265EB7622B";
const CONTAINER: Guid = "9E21FD93-9C72-4C15-8C4B-E77F1DB2D792";
const RESET: Guid = "DF1CCEF6-F301-4A63-9661-FC6030DCC880";

export interface SmallFirmware {
  /** How the DXE volume is stored; undefined: it is a piece of flash itself. */
  readonly codec?: Exclude<CodecName, "brotli">;
  /** Erased bytes in the flash volume. */
  readonly roomBytes?: number;
  /** Erased bytes in the DXE volume inside the compressed section. */
  readonly innerRoomBytes?: number;
  readonly eraseByte?: number;
  /** Random bytes that the modules consist of. */
  readonly fill: (target: Uint8Array) => Uint8Array;
}

/** Firmware with a DXE core, a Shell and a network module in its DXE volume, and a boot volume behind. */
export function smallFirmware(options: SmallFirmware): FirmwareImage {
  const { codec, roomBytes = 4096, innerRoomBytes = 2048, eraseByte = 0xff, fill } = options;
  const pe = (length: number): Uint8Array => program(X64, fill(new Uint8Array(length)));
  const modules = [
    moduleFile(DXE_CORE, FILE_TYPE_DXE_CORE, "DxeCore", pe(700), eraseByte),
    moduleFile(SHELL, 9, "Shell", pe(900), eraseByte),
    moduleFile(TCP, 7, NETWORK_MODULE, pe(1500), eraseByte),
  ];
  const round = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
  const reset = volumeOf(1024, [fileOf(RESET, 1, pe(200))]);
  // The code that an x86 processor starts with is at the very end.
  const end = { kind: "opaque", data: new Uint8Array(1024).fill(0xf4) } as const;
  if (codec === undefined) {
    return { parts: [volumeOf(round(5000 + roomBytes), modules, { eraseByte }), reset, end], problems: [] };
  }
  const inner = volumeOf(round(4096 + innerRoomBytes), modules, { eraseByte });
  const packedFile = fileOf(CONTAINER, 0x0b, [encapsulation(codec, [volumeSection(inner)])], { eraseByte });
  const compressed = codec === "plain" || codec === "crc32" ? inner.sizeBytes : 4200;
  const outer = volumeOf(round(compressed + roomBytes), [packedFile], { eraseByte });
  return { parts: [outer, reset, end], problems: [] };
}

/** Every way in which the DXE volume can be stored. */
export const codecChoices: readonly SmallFirmware["codec"][] = [
  undefined,
  "plain",
  "crc32",
  "lzma",
  "lzma-x86",
  "tiano",
  "efi",
];
