/**
 * Boots a kernel by the Multiboot specification, version 0.6.96: a header in the file's first 8 KiB says what the
 * kernel wants; it is entered in 32-bit protected mode without paging, with a magic number in EAX and the address of
 * the boot information in EBX.
 *
 * The file is an ELF executable, or anything else when its header says itself where what goes (the "address override"
 * of a.out kernels). Kernels may lie below 1 MiB too, as test programs for real mode do; what the loader hands over is
 * put where the kernel is not.
 */
import { guestPhysical, KiB, MiB } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import { packed, u32, u64 } from "../../base/layout.ts";
import { type BootState, GDT_SIZE, protectedModeState, writeGdt } from "../cpu/boot-state.ts";
import { LowMemory } from "../platform.ts";
import { type BootFile, badKernel, readBytes, readIntoMemory } from "./boot-file.ts";
import { type ElfSegment, looksLikeElf, parseElf, SegmentType } from "./elf.ts";
import type { LinuxBoot } from "./linux.ts";
import { buildMemoryMap } from "./memory-map.ts";
import {
  asciiLine,
  COMMAND_LINE_BYTES_MAX,
  lowRamEnd,
  mebibytes,
  PAGE_SIZE,
  placeInitrd,
} from "./placement.ts";

const SOURCE = "Multiboot 0.6.96";

export const MultibootHeader = packed("multiboot_header", `${SOURCE}, 3.1.1`, {
  magic: u32,
  flags: u32,
  checksum: u32,
  header_addr: u32,
  load_addr: u32,
  load_end_addr: u32,
  bss_end_addr: u32,
  entry_addr: u32,
});
/** The part that every header has: magic, flags, checksum. */
const SHORT_HEADER_SIZE = MultibootHeader.offset.header_addr;

/** The fields up to the loader's name; those after it describe what this machine does not have. */
export const MultibootInfo = packed("multiboot_info", `${SOURCE}, 3.3`, {
  flags: u32,
  mem_lower: u32,
  mem_upper: u32,
  boot_device: u32,
  cmdline: u32,
  mods_count: u32,
  mods_addr: u32,
  syms_0: u32,
  syms_1: u32,
  syms_2: u32,
  syms_3: u32,
  mmap_length: u32,
  mmap_addr: u32,
  drives_length: u32,
  drives_addr: u32,
  config_table: u32,
  boot_loader_name: u32,
  apm_table: u32,
});

export const MultibootModule = packed("multiboot_module", `${SOURCE}, 3.3`, {
  mod_start: u32,
  mod_end: u32,
  string: u32,
  reserved: u32,
});

export const MultibootMemory = packed("multiboot_mmap_entry", `${SOURCE}, 3.3`, {
  /** Of what follows it: the address of an entry is that of `addr` in the specification's words. */
  size: u32,
  addr: u64,
  len: u64,
  type: u32,
});

export const MULTIBOOT_HEADER_MAGIC = 0x1bad_b002;
export const MULTIBOOT_ENTRY_MAGIC = 0x2bad_b002;
/** 3.1: the header lies wholly in that much of the file's start, at a multiple of 4. */
const HEADER_SEARCH_BYTES = 8192;
const HEADER_ALIGN = 4;

/** 3.1.2. Bits 0 to 15 are demands that a loader must meet or refuse; 16 to 31 may be ignored. */
export const HeaderFlag = { PageAligned: 1, MemoryInfo: 2, VideoMode: 4, AddressOverride: 0x1_0000 } as const;
const DEMANDS = 0xffff;
const DEMANDS_MET = HeaderFlag.PageAligned | HeaderFlag.MemoryInfo;

export const InfoFlag = {
  Memory: 1,
  CommandLine: 4,
  Modules: 8,
  MemoryMap: 0x40,
  LoaderName: 0x200,
} as const;

const LOADER_NAME = "Thimble";
/** The first page has the BIOS data area. */
const KERNEL_START_MIN = PAGE_SIZE;
const ADDRESS_LIMIT = 2 ** 32;
const ALIGN = 16;

/** What is copied, and where execution starts. */
interface Load {
  readonly segments: readonly ElfSegment[];
  readonly entry: number;
}

export interface FoundHeader {
  /** Where in the file it is. */
  readonly offset: number;
  readonly flags: number;
}

/** The first valid Multiboot header: right magic number, and a checksum that makes its sum zero. Never throws. */
export function findMultibootHeader(start: Uint8Array): FoundHeader | null {
  const end = Math.min(start.length, HEADER_SEARCH_BYTES);
  const dwords = new DataView(start.buffer, start.byteOffset, start.length);
  for (let at = 0; at + SHORT_HEADER_SIZE <= end; at += HEADER_ALIGN) {
    if (dwords.getUint32(at, true) !== MULTIBOOT_HEADER_MAGIC) continue;
    const flags = dwords.getUint32(at + MultibootHeader.offset.flags, true);
    const checksum = dwords.getUint32(at + MultibootHeader.offset.checksum, true);
    if ((MULTIBOOT_HEADER_MAGIC + flags + checksum) % ADDRESS_LIMIT === 0) return { offset: at, flags };
  }
  return null;
}

/** Errors as `loadLinux`. Memory is as after power-on: what the kernel has beyond its file is zero already. */
export function loadMultiboot(boot: LinuxBoot, header: FoundHeader): BootState {
  const { memory, kernel } = boot;
  const unmet = header.flags & DEMANDS & ~DEMANDS_MET;
  if (unmet !== 0) {
    const why = unmet & HeaderFlag.VideoMode ? "asks for a video mode" : `asks for 0x${unmet.toString(16)}`;
    throw badKernel(kernel, "flags in the multiboot header", `${why}, which this loader does not provide`);
  }
  const override = (header.flags & HeaderFlag.AddressOverride) !== 0;
  const load = override ? loadByHeader(kernel, header.offset) : loadByElf(kernel);
  const kernelEnd = checkSegments(boot, load);
  const info = layOutInfo(boot, load.segments, kernelEnd);
  for (const s of load.segments) readIntoMemory(kernel, s.fileOffset, s.fileBytes, memory, s.physicalAddress);
  const initrdAt =
    boot.initrd === undefined
      ? 0
      : placeInitrd(memory, boot.initrd, Math.max(kernelEnd, info.end, MiB), ADDRESS_LIMIT - 1);
  memory.write(info.start, info.build(initrdAt));
  const gdt = writeGdt(memory, guestPhysical(info.gdt), 32);
  return protectedModeState(gdt, { rip: load.entry, rax: MULTIBOOT_ENTRY_MAGIC, rbx: info.start, rsp: 0 });
}

/** 3.1.3: the header's own addresses. */
function loadByHeader(kernel: BootFile, offset: number): Load {
  const header = MultibootHeader.decode(
    readBytes(kernel, offset, MultibootHeader.size, "the multiboot header's addresses"),
  );
  const bad = (field: keyof typeof header, why: string) =>
    badKernel(kernel, `${field} in the multiboot header`, why);
  const fileOffset = offset - (header.header_addr - header.load_addr);
  if (header.load_addr > header.header_addr) throw bad("load_addr", "is above header_addr");
  if (fileOffset < 0) throw bad("header_addr", "puts the start of the kernel before the start of the file");
  // Zero means all of the file.
  const loadEnd = header.load_end_addr || header.load_addr + kernel.sizeBytes - fileOffset;
  const fileBytes = loadEnd - header.load_addr;
  if (fileBytes <= 0) throw bad("load_end_addr", "is not above load_addr");
  if (fileOffset + fileBytes > kernel.sizeBytes)
    throw bad("load_end_addr", "reaches beyond the end of the file");
  const end = header.bss_end_addr || loadEnd;
  if (end < loadEnd) throw bad("bss_end_addr", "is below load_end_addr");
  const memoryBytes = end - header.load_addr;
  const physicalAddress = header.load_addr;
  const type = SegmentType.Load;
  return {
    segments: [
      { type, fileOffset, fileBytes, memoryBytes, physicalAddress, virtualAddress: physicalAddress },
    ],
    entry: header.entry_addr,
  };
}

function loadByElf(kernel: BootFile): Load {
  if (!looksLikeElf(readBytes(kernel, 0, 4, "the ELF header"))) {
    throw badKernel(
      kernel,
      "flags in the multiboot header",
      "has no address override, and the file is not ELF",
    );
  }
  const { segments: all, entry } = parseElf(kernel);
  const segments = all.filter((s) => s.type === SegmentType.Load && s.memoryBytes > 0);
  // The entry point is a virtual address; without paging the kernel is entered at the physical one.
  const home = segments.find((s) => entry >= s.virtualAddress && entry < s.virtualAddress + s.memoryBytes);
  return { segments, entry: home ? entry - home.virtualAddress + home.physicalAddress : entry };
}

/** Checks where everything goes and returns the end of the highest segment. */
function checkSegments(boot: LinuxBoot, { segments, entry }: Load): number {
  const { kernel, memory } = boot;
  if (segments.length === 0) throw badKernel(kernel, "the program header table", "has nothing to load");
  const ordered = [...segments].sort((a, b) => a.physicalAddress - b.physicalAddress);
  let before = 0;
  for (const { physicalAddress: start, memoryBytes } of ordered) {
    const end = start + memoryBytes;
    const where = `0x${start.toString(16)}`;
    if (start < before)
      throw badKernel(kernel, "a load address", `is ${where}, inside the segment before it`);
    if (start < KERNEL_START_MIN || (start < MiB && end > LowMemory.ebda.start)) {
      throw badKernel(
        kernel,
        "a load address",
        `is ${where}: it or what follows it belongs to the PC's firmware`,
      );
    }
    if (end > ADDRESS_LIMIT) throw badKernel(kernel, "a segment", `at ${where} reaches beyond 4 GiB`);
    if (end > lowRamEnd(memory)) {
      throw new ThimbleError(
        "memory_too_small",
        `${kernel.name} needs memory up to ${mebibytes(end)}, but the VM has ${mebibytes(lowRamEnd(memory))} below ` +
          "the PCI hole. Give the VM more memory.",
      );
    }
    before = end;
  }
  if (!segments.some((s) => entry >= s.physicalAddress && entry < s.physicalAddress + s.memoryBytes)) {
    throw badKernel(kernel, "the entry point", `0x${entry.toString(16)} is in none of the loaded segments`);
  }
  return before;
}

interface InfoPlace {
  /** Where the boot information begins. */
  readonly start: number;
  /** The end of all that is handed over when it lies above the kernel, otherwise 0. */
  readonly end: number;
  readonly gdt: number;
  build(initrdAt: number): Uint8Array;
}

/** Boot information, GDT, memory map, module and strings as one piece, at a place that the kernel leaves free. */
function layOutInfo(boot: LinuxBoot, segments: readonly ElfSegment[], kernelEnd: number): InfoPlace {
  const { memory, kernel, initrd } = boot;
  const map = buildMemoryMap(memory.sizeBytes);
  const commandLine = boot.commandLine === "" ? "" : ` ${boot.commandLine}`;
  const strings = {
    commandLine: asciiLine(programName(kernel) + commandLine, COMMAND_LINE_BYTES_MAX),
    loader: asciiLine(LOADER_NAME, LOADER_NAME.length),
    module: asciiLine(initrd ? programName(initrd) : "", COMMAND_LINE_BYTES_MAX),
  };
  const gdtAt = align(MultibootInfo.size);
  const moduleAt = gdtAt + align(GDT_SIZE);
  const mapAt = moduleAt + MultibootModule.size;
  const mapBytes = map.length * MultibootMemory.size;
  const commandLineAt = mapAt + mapBytes;
  const loaderAt = commandLineAt + strings.commandLine.length;
  const moduleNameAt = loaderAt + strings.loader.length;
  const size = moduleNameAt + strings.module.length;

  const start = freePlace(segments, size) ?? align(kernelEnd);
  if (start + size > lowRamEnd(memory)) {
    throw new ThimbleError("memory_too_small", `${kernel.name} leaves no memory for the boot information.`);
  }
  const build = (initrdAt: number): Uint8Array => {
    const out = new Uint8Array(size);
    const { Memory, CommandLine, Modules, MemoryMap, LoaderName } = InfoFlag;
    MultibootInfo.patch(out, 0, {
      flags: Memory | CommandLine | MemoryMap | LoaderName | (initrd ? Modules : 0),
      mem_lower: LowMemory.ebda.start / KiB,
      mem_upper: Math.floor((lowRamEnd(memory) - MiB) / KiB),
      cmdline: start + commandLineAt,
      mods_count: initrd ? 1 : 0,
      mods_addr: initrd ? start + moduleAt : 0,
      mmap_length: mapBytes,
      mmap_addr: start + mapAt,
      boot_loader_name: start + loaderAt,
    });
    if (initrd) {
      MultibootModule.patch(out, moduleAt, {
        mod_start: initrdAt,
        mod_end: initrdAt + initrd.sizeBytes,
        string: start + moduleNameAt,
      });
    }
    map.forEach(({ start: addr, size: len, type }, i) => {
      const entry = { size: MultibootMemory.size - MultibootMemory.offset.addr, addr, len, type };
      MultibootMemory.patch(out, mapAt + i * MultibootMemory.size, entry);
    });
    out.set(strings.commandLine, commandLineAt);
    out.set(strings.loader, loaderAt);
    out.set(strings.module, moduleNameAt);
    return out;
  };
  return { start, end: start >= MiB ? start + size : 0, gdt: start + gdtAt, build };
}

/** As high as possible in conventional memory, below whatever of the kernel is there. Null when nowhere. */
function freePlace(segments: readonly ElfSegment[], size: number): number | null {
  const low = segments.filter((s) => s.physicalAddress < MiB);
  const limits = [LowMemory.ebda.start, ...low.map((s) => s.physicalAddress)].sort((a, b) => b - a);
  for (const limit of limits) {
    const start = Math.floor((limit - size) / ALIGN) * ALIGN;
    const isFree = low.every(
      (s) => s.physicalAddress >= start + size || s.physicalAddress + s.memoryBytes <= start,
    );
    if (start >= KERNEL_START_MIN && isFree) return start;
  }
  return null;
}

/** What kernels expect as the first word of a command line. Paths of the host are none of the guest's business. */
function programName(file: BootFile): string {
  const name = file.name.slice(file.name.lastIndexOf("/") + 1);
  return name.replace(/[^!-~]/g, "_");
}

function align(value: number): number {
  return Math.ceil(value / ALIGN) * ALIGN;
}
