/**
 * Boots a bzImage by Linux's x86 boot protocol: in 64-bit mode where the kernel has that entry, otherwise in 32-bit
 * protected mode (memtest86+ for 32 bits, old or 32-bit Linux).
 *
 * The file is a setup part, of which only the header is of use, and the protected-mode part, which is loaded at the
 * address it prefers. The header is checked field by field here; everything after `parseSetupHeader` trusts it.
 */
import { type GuestPhysical, guestPhysical, KiB } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import { type BootState, longModeState, protectedModeState, writeGdt } from "../cpu/boot-state.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type BootFile, badKernel, readBytes, readIntoMemory } from "./boot-file.ts";
import {
  BOOT_FLAG,
  BootParams,
  E820Entry,
  HEADER_MAGIC,
  JUMP_SHORT,
  LOADER_UNDEFINED,
  LoadFlag,
  SETUP_HEADER_OFFSET,
  SetupHeader,
  VIDEO_NORMAL,
  XLoadFlag,
} from "./boot-params.ts";
import { writeIdentityMap } from "./identity-map.ts";
import { buildMemoryMap } from "./memory-map.ts";
import {
  KERNEL_ADDRESS_MIN,
  lowRamEnd,
  mebibytes,
  PAGE_SIZE,
  Placement,
  placeCommandLine,
  placeInitrd,
} from "./placement.ts";
import { type LinearScreen, ScreenInfo, screenInfo } from "./screen-info.ts";

export interface LinuxBoot {
  readonly memory: GuestMemory;
  readonly kernel: BootFile;
  readonly initrd?: BootFile;
  readonly commandLine: string;
  /** Where the ACPI tables begin. */
  readonly rsdp: GuestPhysical;
  /** The picture that is on the screen already; absent: none. PVH has no way to tell. */
  readonly screen?: LinearScreen;
}

/** What the checked header says. */
export interface BzImage {
  readonly header: ReturnType<typeof SetupHeader.decode>;
  /** The header's bytes, as they go into the zero page. */
  readonly headerBytes: Uint8Array;
  /** Where the protected-mode part is in the file. */
  readonly payloadOffset: number;
  readonly payloadBytes: number;
  readonly loadAddress: number;
  /** Memory the kernel needs from there before it can ask for more. */
  readonly roomBytes: number;
  readonly entry64: boolean;
  readonly commandLineMax: number;
}

const SECTOR = 512;
/** setup_sects 0 means 4, for kernels of the last millennium. */
const SETUP_SECTORS_DEFAULT = 4;
/** Where `jump` jumps from: the header ends that much after this offset. */
const HEADER_END_BASE = 0x202;
/** The zero page has room for the header up to here. */
const HEADER_END_MAX = 0x290;
/** First version with pref_address and init_size: without them nobody can say how much room the kernel needs. */
const VERSION_MIN = 0x020a;
/** First version with xloadflags. */
const VERSION_XLOADFLAGS = 0x020c;
/** The 64-bit entry point follows the 32-bit one by this much. */
const ENTRY64_OFFSET = 0x200;
const ADDRESS_LIMIT = 2 ** 32;
/** syssize counts units of 16 bytes, so it may be up to 15 bytes more than there are. */
const PARAGRAPH = 16;

/** Whether the file starts like a bzImage: it has the boot flag and the header's magic. */
export function looksLikeBzImage(start: Uint8Array): boolean {
  if (start.length < SETUP_HEADER_OFFSET + SetupHeader.size) return false;
  return SetupHeader.decode(start, SETUP_HEADER_OFFSET).header === HEADER_MAGIC;
}

/** Checks the setup header. Throws ThimbleError("bad_kernel") naming the field that is wrong. */
export function parseSetupHeader(kernel: BootFile): BzImage {
  const first = readBytes(kernel, 0, HEADER_END_MAX, "the setup header");
  const header = SetupHeader.decode(first, SETUP_HEADER_OFFSET);
  const bad = (field: keyof typeof header, why: string) =>
    badKernel(kernel, `${field} in the setup header`, why);
  const hex = (value: number) => `0x${value.toString(16)}`;

  if (header.boot_flag !== BOOT_FLAG) throw bad("boot_flag", `is ${hex(header.boot_flag)} instead of 0xaa55`);
  if (header.header !== HEADER_MAGIC) throw bad("header", 'is not "HdrS"');
  if (header.version < VERSION_MIN) {
    throw bad("version", `is ${hex(header.version)}; protocol 2.10 (Linux 2.6.31) or newer is needed`);
  }
  const headerEnd = HEADER_END_BASE + header.jump_length;
  const needed = SETUP_HEADER_OFFSET + SetupHeader.offset.init_size + 4;
  if (header.jump_opcode !== JUMP_SHORT) throw bad("jump_opcode", "is not a short jump");
  if (headerEnd < needed || headerEnd > HEADER_END_MAX)
    throw bad("jump_length", `makes the header end at ${hex(headerEnd)}`);
  if (!(header.loadflags & LoadFlag.LoadedHigh))
    throw bad("loadflags", "says zImage, which loads below 1 MiB");

  const payloadOffset = ((header.setup_sects || SETUP_SECTORS_DEFAULT) + 1) * SECTOR;
  const available = kernel.sizeBytes - payloadOffset;
  const stated = header.syssize * PARAGRAPH;
  if (available <= 0)
    throw bad("setup_sects", `leaves nothing of the file's ${kernel.sizeBytes} bytes for the kernel`);
  if (stated === 0) throw bad("syssize", "is zero");
  if (available + PARAGRAPH <= stated) {
    throw bad(
      "syssize",
      `says ${stated} bytes, but the file has only ${available} of them; it may be cut short`,
    );
  }
  const payloadBytes = Math.min(stated, available);

  const alignment = header.kernel_alignment;
  if (header.relocatable_kernel !== 0 && (alignment < PAGE_SIZE || !isPowerOfTwo(alignment))) {
    throw bad("kernel_alignment", `is ${hex(alignment)}, not a power of two of at least a page`);
  }
  const loadAddress = header.pref_address;
  if (loadAddress < KERNEL_ADDRESS_MIN || loadAddress >= ADDRESS_LIMIT || loadAddress % PAGE_SIZE !== 0) {
    throw bad("pref_address", `is ${hex(loadAddress)}, not a page between 1 MiB and 4 GiB`);
  }
  if (header.relocatable_kernel !== 0 && loadAddress % alignment !== 0) {
    throw bad("pref_address", `is ${hex(loadAddress)}, not a multiple of kernel_alignment ${hex(alignment)}`);
  }
  if (header.init_size === 0) throw bad("init_size", "is zero");
  if (header.cmdline_size === 0) throw bad("cmdline_size", "is zero");

  const entry64 = header.version >= VERSION_XLOADFLAGS && (header.xloadflags & XLoadFlag.Kernel64) !== 0;
  if (entry64 && payloadBytes <= ENTRY64_OFFSET)
    throw bad("syssize", "leaves no room for the 64-bit entry point");
  return {
    header,
    headerBytes: first.subarray(SETUP_HEADER_OFFSET, headerEnd),
    payloadOffset,
    payloadBytes,
    loadAddress,
    roomBytes: Math.max(header.init_size, payloadBytes),
    entry64,
    commandLineMax: header.cmdline_size,
  };
}

/**
 * Loads kernel, initrd and command line and returns the state in which to start the boot CPU.
 * Errors: bad_kernel, bad_initrd, bad_command_line, memory_too_small.
 */
export function loadLinux(boot: LinuxBoot): BootState {
  const { memory, kernel } = boot;
  const image = parseSetupHeader(kernel);
  const kernelEnd = image.loadAddress + image.roomBytes;
  if (kernelEnd > lowRamEnd(memory)) {
    throw new ThimbleError(
      "memory_too_small",
      `${kernel.name} needs memory up to ${mebibytes(kernelEnd)}, but the VM has ${mebibytes(lowRamEnd(memory))} ` +
        "below the PCI hole. Give the VM more memory.",
    );
  }
  placeCommandLine(memory, boot.commandLine, image.commandLineMax);
  const { payloadOffset, payloadBytes, loadAddress, roomBytes } = image;
  readIntoMemory(kernel, payloadOffset, payloadBytes, memory, loadAddress, roomBytes);
  const initrdBytes = boot.initrd?.sizeBytes ?? 0;
  const initrdAt =
    boot.initrd === undefined ? 0 : placeInitrd(memory, boot.initrd, kernelEnd, image.header.initrd_addr_max);
  memory.write(Placement.bootInfo, buildZeroPage(boot, image, initrdAt, initrdBytes));

  const gdt = writeGdt(memory, guestPhysical(Placement.gdt), image.entry64 ? 64 : 32);
  const registers = { rsi: Placement.bootInfo, rsp: Placement.stackTop };
  if (!image.entry64) return protectedModeState(gdt, { ...registers, rip: image.loadAddress });
  const cr3 = writeIdentityMap(memory);
  return longModeState(gdt, cr3, { ...registers, rip: image.loadAddress + ENTRY64_OFFSET });
}

function buildZeroPage(boot: LinuxBoot, image: BzImage, initrdAt: number, initrdBytes: number): Uint8Array {
  const page = new Uint8Array(BootParams.size);
  // The kernel's header as it is, then the loader's fields over it.
  page.set(image.headerBytes, SETUP_HEADER_OFFSET);
  SetupHeader.patch(page, SETUP_HEADER_OFFSET, {
    vid_mode: VIDEO_NORMAL,
    type_of_loader: LOADER_UNDEFINED,
    code32_start: image.loadAddress,
    ramdisk_image: initrdAt,
    ramdisk_size: initrdBytes,
    cmd_line_ptr: Placement.commandLine,
  });
  const map = buildMemoryMap(boot.memory.sizeBytes);
  BootParams.patch(page, 0, { acpi_rsdp_addr: boot.rsdp, e820_entries: map.length });
  map.forEach((entry, i) => {
    E820Entry.patch(page, BootParams.offset.e820_table + i * E820Entry.size, {
      addr: entry.start,
      size: entry.size,
      type: entry.type,
    });
  });
  if (boot.screen !== undefined)
    ScreenInfo.patch(page, BootParams.offset.screen_info, screenInfo(boot.screen));
  // Kernels before ACPI and E820 read the size from here; in KiB above 1 MiB.
  const above = Math.max(0, Math.floor((lowRamEnd(boot.memory) - KERNEL_ADDRESS_MIN) / KiB));
  BootParams.patch(page, 0, { alt_mem_k: above });
  return page;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}
