/**
 * Boots an ELF kernel by the PVH protocol (xen.git docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h): the note
 * XEN_ELFNOTE_PHYS32_ENTRY names an entry point for 32-bit protected mode without paging; EBX points to
 * hvm_start_info.
 */
import { guestPhysical } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import { packed, u32, u64 } from "../../base/layout.ts";
import { type BootState, protectedModeState, writeGdt } from "../cpu/boot-state.ts";
import { type BootFile, badKernel, readIntoMemory } from "./boot-file.ts";
import { type ElfSegment, parseElf, readNotes, SegmentType } from "./elf.ts";
import type { LinuxBoot } from "./linux.ts";
import { buildMemoryMap } from "./memory-map.ts";
import {
  COMMAND_LINE_BYTES_MAX,
  KERNEL_ADDRESS_MIN,
  lowRamEnd,
  mebibytes,
  Placement,
  placeCommandLine,
  placeInitrd,
} from "./placement.ts";

export const StartInfo = packed("hvm_start_info", "start_info.h, version 1", {
  magic: u32,
  version: u32,
  flags: u32,
  nr_modules: u32,
  modlist_paddr: u64,
  cmdline_paddr: u64,
  rsdp_paddr: u64,
  memmap_paddr: u64,
  memmap_entries: u32,
  reserved: u32,
});

export const ModuleEntry = packed("hvm_modlist_entry", "start_info.h", {
  paddr: u64,
  size: u64,
  cmdline_paddr: u64,
  reserved: u64,
});

export const MemoryMapTableEntry = packed("hvm_memmap_table_entry", "start_info.h", {
  addr: u64,
  size: u64,
  type: u32,
  reserved: u32,
});

export const START_INFO_MAGIC = 0x336e_c578;
const START_INFO_VERSION = 1;
const XEN_NOTE_NAME = "Xen";
export const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const ADDRESS_MAX = 0xffff_ffff;

/** Errors as `loadLinux`. Memory is as after power-on: what a segment has beyond its file bytes is zero already. */
export function loadPvh(boot: LinuxBoot): BootState {
  const { memory, kernel } = boot;
  const { segments } = parseElf(kernel);
  const entry = findEntry(kernel, segments);
  const loads = segments.filter((s) => s.type === SegmentType.Load && s.memoryBytes > 0);
  const kernelEnd = checkSegments(boot, loads);
  if (!loads.some((s) => entry >= s.physicalAddress && entry < s.physicalAddress + s.memoryBytes)) {
    throw badKernel(
      kernel,
      "the PVH entry point",
      `0x${entry.toString(16)} is in none of the loaded segments`,
    );
  }
  placeCommandLine(memory, boot.commandLine, COMMAND_LINE_BYTES_MAX);
  for (const s of loads) readIntoMemory(kernel, s.fileOffset, s.fileBytes, memory, s.physicalAddress);
  const initrdAt = boot.initrd === undefined ? 0 : placeInitrd(memory, boot.initrd, kernelEnd, ADDRESS_MAX);
  memory.write(Placement.bootInfo, buildStartInfo(boot, initrdAt));
  const gdt = writeGdt(memory, guestPhysical(Placement.gdt), 32);
  return protectedModeState(gdt, { rip: entry, rbx: Placement.bootInfo, rsp: Placement.stackTop });
}

function findEntry(kernel: BootFile, segments: readonly ElfSegment[]): number {
  const note = readNotes(kernel, segments).find(
    (n) => n.name === XEN_NOTE_NAME && n.type === XEN_ELFNOTE_PHYS32_ENTRY,
  );
  if (note === undefined) {
    throw badKernel(
      kernel,
      "the note XEN_ELFNOTE_PHYS32_ENTRY",
      "is missing: this ELF file has no PVH entry point (Linux has one with CONFIG_PVH=y); use the bzImage instead",
    );
  }
  const { description } = note;
  if (description.length !== 4 && description.length !== 8) {
    throw badKernel(
      kernel,
      "the note XEN_ELFNOTE_PHYS32_ENTRY",
      `has ${description.length} bytes instead of 4 or 8`,
    );
  }
  const field = description.length === 4 ? u32 : u64;
  return field.read(new DataView(description.buffer, description.byteOffset, description.length), 0);
}

/** Checks where the segments go and returns the end of the highest one. */
function checkSegments(boot: LinuxBoot, loads: readonly ElfSegment[]): number {
  const { kernel, memory } = boot;
  if (loads.length === 0) throw badKernel(kernel, "the program header table", "has nothing to load");
  const ordered = [...loads].sort((a, b) => a.physicalAddress - b.physicalAddress);
  let end = KERNEL_ADDRESS_MIN;
  ordered.forEach((s, i) => {
    const where = `0x${s.physicalAddress.toString(16)}`;
    if (s.physicalAddress < KERNEL_ADDRESS_MIN) {
      throw badKernel(
        kernel,
        "p_paddr of a program header",
        `is ${where}, below 1 MiB, where the boot data is`,
      );
    }
    if (i > 0 && s.physicalAddress < end) {
      throw badKernel(kernel, "p_paddr of a program header", `is ${where}, inside the segment before it`);
    }
    end = s.physicalAddress + s.memoryBytes;
  });
  if (end > ADDRESS_MAX) throw badKernel(kernel, "p_memsz of a program header", "reaches beyond 4 GiB");
  if (end > lowRamEnd(memory)) {
    throw new ThimbleError(
      "memory_too_small",
      `${kernel.name} needs memory up to ${mebibytes(end)}, but the VM has ${mebibytes(lowRamEnd(memory))} below the ` +
        "PCI hole. Give the VM more memory.",
    );
  }
  return end;
}

/** hvm_start_info, then the module list, then the memory map. */
function buildStartInfo(boot: LinuxBoot, initrdAt: number): Uint8Array {
  const map = buildMemoryMap(boot.memory.sizeBytes);
  const modulesAt = StartInfo.size;
  const mapAt = modulesAt + ModuleEntry.size;
  const out = new Uint8Array(mapAt + map.length * MemoryMapTableEntry.size);
  const hasInitrd = boot.initrd !== undefined;
  StartInfo.patch(out, 0, {
    magic: START_INFO_MAGIC,
    version: START_INFO_VERSION,
    nr_modules: hasInitrd ? 1 : 0,
    modlist_paddr: hasInitrd ? Placement.bootInfo + modulesAt : 0,
    cmdline_paddr: Placement.commandLine,
    rsdp_paddr: boot.rsdp,
    memmap_paddr: Placement.bootInfo + mapAt,
    memmap_entries: map.length,
  });
  if (boot.initrd !== undefined) {
    ModuleEntry.patch(out, modulesAt, { paddr: initrdAt, size: boot.initrd.sizeBytes });
  }
  map.forEach((entry, i) => {
    MemoryMapTableEntry.patch(out, mapAt + i * MemoryMapTableEntry.size, {
      addr: entry.start,
      size: entry.size,
      type: entry.type,
    });
  });
  return out;
}
