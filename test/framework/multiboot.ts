/** Builds the multiboot test kernel (multiboot/kernel.c): once as ELF, once as a flat file. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const source = join(import.meta.dirname, "multiboot", "kernel.c");
const script = join(import.meta.dirname, "multiboot", "kernel.ld");
const compile = [
  ..."-m32 -O1 -Wall -Werror -ffreestanding -nostdlib -static -fno-pie -no-pie".split(" "),
  ..."-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -mno-sse".split(" "),
  ..."-Wl,--build-id=none -Wl,--no-warn-rwx-segments".split(" "),
];

export interface MultibootKernels {
  readonly elf: Buffer;
  /** Not ELF: its header says where it goes. */
  readonly flat: Buffer;
}

/** Needs gcc, which the image is built with. */
export async function buildMultibootKernels(): Promise<MultibootKernels> {
  const directory = await mkdtemp(join(tmpdir(), "thimble-multiboot-"));
  try {
    const elf = join(directory, "elf");
    const flat = join(directory, "flat");
    const common = [...compile, `-Wl,-T,${script}`, source];
    await run("gcc", [...common, "-o", elf]);
    await run("gcc", [...common, "-DADDRESS_OVERRIDE", "-Wl,--oformat=binary", "-o", flat]);
    return { elf: await readFile(elf), flat: await readFile(flat) };
  } finally {
    await rm(directory, { recursive: true });
  }
}
