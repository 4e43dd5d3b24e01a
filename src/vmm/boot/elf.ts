/**
 * A bounded reader of ELF executables (System V ABI, chapters 4 and 5): just the program headers of 32- and 64-bit
 * x86 files. Every number of the file is checked before it is used.
 */
import { ascii, bytes, type FieldType, packed, type Struct, u8, u16, u32, u64 } from "../../base/layout.ts";
import { type BootFile, badKernel, readBytes } from "./boot-file.ts";

const IDENT = { magic: bytes(4), class: u8, data: u8, version: u8, abi: u8, padding: bytes(8) };
const IDENT_SIZE = 16;

function fileHeader(name: string, address: FieldType<number>) {
  return packed(name, "System V ABI, 4: ELF Header", {
    ...IDENT,
    e_type: u16,
    e_machine: u16,
    e_version: u32,
    e_entry: address,
    e_phoff: address,
    e_shoff: address,
    e_flags: u32,
    e_ehsize: u16,
    e_phentsize: u16,
    e_phnum: u16,
    e_shentsize: u16,
    e_shnum: u16,
    e_shstrndx: u16,
  });
}

export const Elf64Header = fileHeader("Elf64_Ehdr", u64);
export const Elf32Header = fileHeader("Elf32_Ehdr", u32);

export const Elf64ProgramHeader = packed("Elf64_Phdr", "System V ABI, 5: Program Header", {
  p_type: u32,
  p_flags: u32,
  p_offset: u64,
  p_vaddr: u64,
  p_paddr: u64,
  p_filesz: u64,
  p_memsz: u64,
  p_align: u64,
});

export const Elf32ProgramHeader = packed("Elf32_Phdr", "System V ABI, 5: Program Header", {
  p_type: u32,
  p_offset: u32,
  p_vaddr: u32,
  p_paddr: u32,
  p_filesz: u32,
  p_memsz: u32,
  p_flags: u32,
  p_align: u32,
});

export const ElfNoteHeader = packed("Elf_Nhdr", "System V ABI, 5: Note Section", {
  namesz: u32,
  descsz: u32,
  type: u32,
});

export const ElfClass = { Bits32: 1, Bits64: 2 } as const;
export const ElfData = { LittleEndian: 1 } as const;
export const ElfType = { Executable: 2, SharedObject: 3 } as const;
export const ElfMachine = { I386: 3, X86_64: 62 } as const;
export const SegmentType = { Load: 1, Note: 4 } as const;

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];
/** Kernels have a handful; more is a broken file. */
const PROGRAM_HEADERS_MAX = 128;
/** All notes of a Linux kernel are less than 1 KiB. */
const NOTES_BYTES_MAX = 1024 * 1024;
const NOTE_ALIGN = 4;

export interface ElfSegment {
  readonly type: number;
  readonly fileOffset: number;
  readonly fileBytes: number;
  readonly physicalAddress: number;
  readonly virtualAddress: number;
  readonly memoryBytes: number;
}

export interface ElfImage {
  readonly segments: readonly ElfSegment[];
  /** e_entry: a virtual address. Not checked. */
  readonly entry: number;
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  readonly description: Uint8Array;
}

export function looksLikeElf(start: Uint8Array): boolean {
  return ELF_MAGIC.every((byte, i) => start[i] === byte);
}

/** The program headers and the entry point. Throws ThimbleError("bad_kernel") naming the field that is wrong. */
export function parseElf(file: BootFile): ElfImage {
  const ident = readBytes(file, 0, IDENT_SIZE, "the ELF header");
  if (!looksLikeElf(ident)) throw badKernel(file, "the ELF magic", "is missing");
  const [, , , , elfClass, data] = ident;
  if (elfClass !== ElfClass.Bits32 && elfClass !== ElfClass.Bits64) {
    throw badKernel(file, "EI_CLASS in the ELF header", `is ${elfClass}, neither 32 nor 64 bits`);
  }
  if (data !== ElfData.LittleEndian)
    throw badKernel(file, "EI_DATA in the ELF header", "is not little-endian");
  return elfClass === ElfClass.Bits64
    ? imageOf(file, Elf64Header, Elf64ProgramHeader)
    : imageOf(file, Elf32Header, Elf32ProgramHeader);
}

function imageOf(
  file: BootFile,
  Header: typeof Elf64Header,
  ProgramHeader: Struct<
    Record<"p_type" | "p_offset" | "p_vaddr" | "p_paddr" | "p_filesz" | "p_memsz", FieldType<number>>
  >,
): ElfImage {
  const header = Header.decode(readBytes(file, 0, Header.size, "the ELF header"));
  const bad = (field: keyof typeof header, why: string) => badKernel(file, `${field} in the ELF header`, why);
  if (header.e_machine !== ElfMachine.X86_64 && header.e_machine !== ElfMachine.I386) {
    throw bad("e_machine", `is ${header.e_machine}, not an x86`);
  }
  if (header.e_type !== ElfType.Executable && header.e_type !== ElfType.SharedObject) {
    throw bad("e_type", `is ${header.e_type}, not an executable`);
  }
  if (header.e_phentsize !== ProgramHeader.size) {
    throw bad("e_phentsize", `is ${header.e_phentsize} instead of ${ProgramHeader.size}`);
  }
  if (header.e_phnum === 0 || header.e_phnum > PROGRAM_HEADERS_MAX) {
    throw bad("e_phnum", `is ${header.e_phnum}, not 1 to ${PROGRAM_HEADERS_MAX}`);
  }
  const table = readBytes(
    file,
    header.e_phoff,
    header.e_phnum * ProgramHeader.size,
    "the program header table (e_phoff)",
  );
  const segments: ElfSegment[] = [];
  for (let i = 0; i < header.e_phnum; i++) {
    const p = ProgramHeader.decode(table, i * ProgramHeader.size);
    if (p.p_type === SegmentType.Load || p.p_type === SegmentType.Note) {
      if (p.p_offset + p.p_filesz > file.sizeBytes) {
        throw badKernel(file, `p_filesz of program header ${i}`, "reaches beyond the end of the file");
      }
      if (p.p_type === SegmentType.Load && p.p_filesz > p.p_memsz) {
        throw badKernel(file, `p_filesz of program header ${i}`, "is larger than p_memsz");
      }
    }
    segments.push({
      type: p.p_type,
      fileOffset: p.p_offset,
      fileBytes: p.p_filesz,
      physicalAddress: p.p_paddr,
      virtualAddress: p.p_vaddr,
      memoryBytes: p.p_memsz,
    });
  }
  return { segments, entry: header.e_entry };
}

/** All notes of all note segments. A malformed note ends its segment: what came before it counts. */
export function readNotes(file: BootFile, segments: readonly ElfSegment[]): ElfNote[] {
  const notes: ElfNote[] = [];
  for (const segment of segments) {
    if (segment.type !== SegmentType.Note) continue;
    if (segment.fileBytes > NOTES_BYTES_MAX) {
      throw badKernel(
        file,
        "p_filesz of the note segment",
        `is ${segment.fileBytes} bytes, more than any kernel has`,
      );
    }
    const data = readBytes(file, segment.fileOffset, segment.fileBytes, "the note segment");
    for (let at = 0; at + ElfNoteHeader.size <= data.length; ) {
      const { namesz, descsz, type } = ElfNoteHeader.decode(data, at);
      const nameAt = at + ElfNoteHeader.size;
      const descAt = nameAt + alignNote(namesz);
      const end = descAt + alignNote(descsz);
      if (descAt + descsz > data.length) break;
      const name = ascii(namesz).read(new DataView(data.buffer, nameAt), 0);
      notes.push({ name, type, description: data.subarray(descAt, descAt + descsz) });
      at = end;
    }
  }
  return notes;
}

function alignNote(size: number): number {
  return Math.ceil(size / NOTE_ALIGN) * NOTE_ALIGN;
}
