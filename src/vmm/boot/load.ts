/** Direct boot: tells what kind of kernel a file is and loads it into guest memory. */
import type { BootState } from "../cpu/boot-state.ts";
import { kernelsPart } from "../parts.ts";
import { type BootFile, badKernel } from "./boot-file.ts";
import { type LinuxBoot, loadLinux, looksLikeBzImage } from "./linux.ts";
import { writeBiosData } from "./placement.ts";

/** Where a multiboot header may be. */
const START_BYTES = 8192;

/**
 * Loads the kernel with its initrd and command line into fresh guest memory and returns the state in which the boot
 * CPU enters it. Other CPUs start as after power-on, waiting.
 *
 * Throws ThimbleError: bad_kernel, bad_initrd, bad_command_line, memory_too_small; and what reading the files throws.
 */
export function loadKernel(boot: LinuxBoot): BootState {
  const start = startOf(boot.kernel);
  if (looksLikeBzImage(start)) {
    writeBiosData(boot.memory);
    return loadLinux(boot);
  }
  const { findMultibootHeader, loadMultiboot, loadPvh, looksLikeElf } = kernelsPart();
  const multiboot = findMultibootHeader(start);
  if (multiboot === null && !looksLikeElf(start)) {
    throw badKernel(boot.kernel, "its format", describe(start));
  }
  writeBiosData(boot.memory);
  return multiboot === null ? loadPvh(boot) : loadMultiboot(boot, multiboot);
}

function startOf(file: BootFile): Uint8Array {
  const start = new Uint8Array(Math.min(START_BYTES, file.sizeBytes));
  if (start.length > 0) file.read(0, start);
  return start;
}

function describe(start: Uint8Array): string {
  const [a, b] = start;
  if (start.length === 0) return "cannot be told: the file is empty";
  if (a === 0x1f && b === 0x8b) return "is gzip; unpack it first";
  if (a === 0x4d && b === 0x5a) return "is an EFI program without a Linux setup header";
  return 'is neither a bzImage (no "HdrS" at 0x202) nor a multiboot kernel (no header in the first 8 KiB) nor ELF';
}
