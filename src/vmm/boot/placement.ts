/**
 * Where the loader puts what it hands to the kernel: in conventional memory, which every kernel treats as free RAM
 * once it has read it. The kernel itself starts at 1 MiB or above.
 */
import { GiB, KiB, MiB } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { LowMemory, Port } from "../platform.ts";
import { type BootFile, readIntoMemory } from "./boot-file.ts";

export const Placement = {
  gdt: 0x1000,
  /** Six pages: one level 4, one level 3, four level 2. */
  pageTables: 0x2000,
  /** One page: Linux's zero page, or PVH's start info with its lists. */
  bootInfo: 0x8000,
  /** The stack grows down from here, for kernels that use one before they have their own. */
  stackTop: 0x1_0000,
  commandLine: 0x2_0000,
} as const;

export const PAGE_SIZE = 4 * KiB;
export const KERNEL_ADDRESS_MIN: number = MiB;
/** The room between `Placement.commandLine` and the next thing that could be there. */
export const COMMAND_LINE_BYTES_MAX = 64 * KiB - 1;

/** BIOS data area: the few fields that kernels read to find out what firmware has claimed. */
const BiosData = { com1Port: 0x400, ebdaSegment: 0x40e, baseMemoryKiB: 0x413 } as const;

export function writeBiosData(memory: GuestMemory): void {
  const word = (value: number) => Uint8Array.of(value & 0xff, value >>> 8);
  memory.write(BiosData.com1Port, word(Port.com1.start));
  memory.write(BiosData.ebdaSegment, word(LowMemory.ebda.start / 16));
  memory.write(BiosData.baseMemoryKiB, word(LowMemory.ebda.start / KiB));
  // Its first byte says how many KiB it has.
  memory.write(LowMemory.ebda.start, Uint8Array.of(LowMemory.ebda.size / KiB));
}

/** RAM from 0 up to here is in one piece. */
export function lowRamEnd(memory: GuestMemory): number {
  return memory.regions[0]?.sizeBytes ?? 0;
}

/**
 * Writes the command line with its terminating zero. Throws ThimbleError("bad_command_line") when it is longer than
 * `bytesMax` or not plain ASCII.
 */
export function placeCommandLine(memory: GuestMemory, text: string, bytesMax: number): void {
  memory.write(Placement.commandLine, asciiLine(text, Math.min(bytesMax, COMMAND_LINE_BYTES_MAX)));
}

/** Text with a terminating zero, which `bytesMax` does not count. Throws ThimbleError("bad_command_line") as above. */
export function asciiLine(text: string, bytesMax: number): Uint8Array {
  if (text.length > bytesMax) {
    throw new ThimbleError(
      "bad_command_line",
      `The kernel command line has ${text.length} bytes; this kernel takes at most ${bytesMax}.`,
    );
  }
  const bytes = new Uint8Array(text.length + 1);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) {
      throw new ThimbleError(
        "bad_command_line",
        `The kernel command line has a character at position ${i} that is not printable ASCII.`,
      );
    }
    bytes[i] = code;
  }
  return bytes;
}

/**
 * Loads the initrd as high as it may go, at a page boundary, and returns its address. `kernelEnd` is the first free
 * address above the kernel, `addressMax` the last one the initrd may use.
 * Throws ThimbleError("bad_initrd") for an empty one and "memory_too_small" when there is no room.
 */
export function placeInitrd(
  memory: GuestMemory,
  initrd: BootFile,
  kernelEnd: number,
  addressMax: number,
): number {
  if (initrd.sizeBytes === 0) throw new ThimbleError("bad_initrd", `The initrd ${initrd.name} is empty.`);
  // Below 4 GiB in any case: kernels address it before they have page tables of their own.
  const end = Math.min(lowRamEnd(memory), addressMax + 1, 4 * GiB);
  const start = Math.floor((end - initrd.sizeBytes) / PAGE_SIZE) * PAGE_SIZE;
  if (start < kernelEnd) {
    throw new ThimbleError(
      "memory_too_small",
      `The initrd ${initrd.name} (${mebibytes(initrd.sizeBytes)}) does not fit between the kernel, which needs memory ` +
        `up to ${mebibytes(kernelEnd)}, and ${mebibytes(end)}. Give the VM more memory or a smaller initrd.`,
    );
  }
  readIntoMemory(initrd, 0, initrd.sizeBytes, memory, start);
  return start;
}

export function mebibytes(sizeBytes: number): string {
  return `${Math.ceil(sizeBytes / MiB)} MiB`;
}
