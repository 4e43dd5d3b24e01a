/** The PE file around a piece of code that may be loaded anywhere: headers, one section, no relocations to make. */
import { array, ascii, bytes, packed, u8, u16, u32, u64 } from "../../base/layout.ts";

const DosHeader = packed("IMAGE_DOS_HEADER", "PE Format, MS-DOS stub", {
  signature: ascii(2),
  unused: bytes(58),
  peOffset: u32,
});

const FileHeader = packed("PE signature and IMAGE_FILE_HEADER", "PE Format, COFF file header", {
  signature: ascii(4),
  machine: u16,
  numberOfSections: u16,
  timeDateStamp: u32,
  pointerToSymbolTable: u32,
  numberOfSymbols: u32,
  sizeOfOptionalHeader: u16,
  characteristics: u16,
});

const DIRECTORIES = 6;
const RELOCATION_DIRECTORY = 5;
const OptionalHeader = packed("IMAGE_OPTIONAL_HEADER64", "PE Format, optional header", {
  magic: u16,
  majorLinkerVersion: u8,
  minorLinkerVersion: u8,
  sizeOfCode: u32,
  sizeOfInitializedData: u32,
  sizeOfUninitializedData: u32,
  addressOfEntryPoint: u32,
  baseOfCode: u32,
  imageBase: u64,
  sectionAlignment: u32,
  fileAlignment: u32,
  versions: array(u16, 6),
  win32VersionValue: u32,
  sizeOfImage: u32,
  sizeOfHeaders: u32,
  checkSum: u32,
  subsystem: u16,
  dllCharacteristics: u16,
  sizeOfStackReserve: u64,
  sizeOfStackCommit: u64,
  sizeOfHeapReserve: u64,
  sizeOfHeapCommit: u64,
  loaderFlags: u32,
  numberOfRvaAndSizes: u32,
  /** Address and size of each. */
  directories: array(u32, 2 * DIRECTORIES),
});

const SectionHeader = packed("IMAGE_SECTION_HEADER", "PE Format, section table", {
  name: ascii(8),
  virtualSize: u32,
  virtualAddress: u32,
  sizeOfRawData: u32,
  pointerToRawData: u32,
  unused: bytes(12),
  characteristics: u32,
});

const RelocationBlock = packed("IMAGE_BASE_RELOCATION", "PE Format, .reloc section", {
  pageRva: u32,
  blockSize: u32,
  entries: array(u16, 2),
});

const MACHINE_X64 = 0x8664;
/** Executable, and not for addresses above 2 GiB alone. */
const CHARACTERISTICS = 0x0022;
const MAGIC_PE32_PLUS = 0x20b;
const SUBSYSTEM_EFI_APPLICATION = 10;
const NX_COMPATIBLE = 0x0100;
const CODE = 0x6000_0020;
const DISCARDABLE_DATA = 0x4200_0040;
const PAGE = 0x1000;
const FILE_ALIGNMENT = 0x200;

/** Where `code` lies from where the program is loaded; its first byte is the entry. */
export const CODE_ADDRESS = PAGE;

/** The program. A relocation section without entries says that it may be loaded anywhere. */
export function efiProgram(code: Uint8Array): Uint8Array {
  const alignUp = (value: number, to: number) => Math.ceil(value / to) * to;
  const relocations = RelocationBlock.encode({ pageRva: CODE_ADDRESS, blockSize: RelocationBlock.size });
  const headerEnd = DosHeader.size + FileHeader.size + OptionalHeader.size + 2 * SectionHeader.size;
  const sizeOfHeaders = alignUp(headerEnd, FILE_ALIGNMENT);
  const codeBytes = alignUp(code.length, FILE_ALIGNMENT);
  const relocationAddress = CODE_ADDRESS + alignUp(code.length, PAGE);
  const directories: number[] = new Array(2 * DIRECTORIES).fill(0);
  directories[2 * RELOCATION_DIRECTORY] = relocationAddress;
  directories[2 * RELOCATION_DIRECTORY + 1] = relocations.length;

  const file = new Uint8Array(sizeOfHeaders + codeBytes + FILE_ALIGNMENT);
  DosHeader.patch(file, 0, { signature: "MZ", peOffset: DosHeader.size });
  let at = DosHeader.size;
  FileHeader.patch(file, at, {
    signature: "PE",
    machine: MACHINE_X64,
    numberOfSections: 2,
    sizeOfOptionalHeader: OptionalHeader.size,
    characteristics: CHARACTERISTICS,
  });
  at += FileHeader.size;
  OptionalHeader.patch(file, at, {
    magic: MAGIC_PE32_PLUS,
    sizeOfCode: codeBytes,
    sizeOfInitializedData: FILE_ALIGNMENT,
    addressOfEntryPoint: CODE_ADDRESS,
    baseOfCode: CODE_ADDRESS,
    sectionAlignment: PAGE,
    fileAlignment: FILE_ALIGNMENT,
    sizeOfImage: relocationAddress + PAGE,
    sizeOfHeaders,
    subsystem: SUBSYSTEM_EFI_APPLICATION,
    dllCharacteristics: NX_COMPATIBLE,
    numberOfRvaAndSizes: DIRECTORIES,
    directories,
  });
  at += OptionalHeader.size;
  SectionHeader.patch(file, at, {
    name: ".text",
    virtualSize: code.length,
    virtualAddress: CODE_ADDRESS,
    sizeOfRawData: codeBytes,
    pointerToRawData: sizeOfHeaders,
    characteristics: CODE,
  });
  at += SectionHeader.size;
  SectionHeader.patch(file, at, {
    name: ".reloc",
    virtualSize: relocations.length,
    virtualAddress: relocationAddress,
    sizeOfRawData: FILE_ALIGNMENT,
    pointerToRawData: sizeOfHeaders + codeBytes,
    characteristics: DISCARDABLE_DATA,
  });
  file.set(code, sizeOfHeaders);
  file.set(relocations, sizeOfHeaders + codeBytes);
  return file;
}
