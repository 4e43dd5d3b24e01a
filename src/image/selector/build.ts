/** Builds the boot selector: firmware/selector/selector.c, compiled to code without relocations, as an EFI program. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keyOf } from "../cache.ts";
import { repositoryRoot } from "../profile.ts";
import { runTool } from "../runtime/tool.ts";
import { efiProgram } from "./efi-program.ts";

const FLAGS = [
  ...["-std=c11", "-Wall", "-Wextra", "-Werror", "-Os", "-ffreestanding", "-fshort-wchar", "-fpie"],
  // Firmware has no stack protector, no shadow stack; interrupts use the stack below the pointer, and vector registers.
  ...["-fno-stack-protector", "-fcf-protection=none", "-mno-red-zone", "-mgeneral-regs-only"],
  ...["-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-fvisibility=hidden"],
  ...["-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments"],
];

const SOURCE = join(repositoryRoot, "firmware/selector");

/** Names what the program is made from. */
export async function selectorKey(): Promise<string> {
  const files = ["selector.c", "selector.ld"].map((name) => readFile(join(SOURCE, name)));
  return keyOf(...(await Promise.all(files)));
}

/** The program's bytes. Errors: `build_tool_failed`. */
export async function buildSelector(): Promise<Uint8Array> {
  const work = await mkdtemp(join(tmpdir(), "thimble-selector-"));
  try {
    const linked = join(work, "selector.elf");
    const script = `-Wl,-T,${join(SOURCE, "selector.ld")}`;
    await runTool("gcc", [...FLAGS, script, join(SOURCE, "selector.c"), "-o", linked]);
    const flat = join(work, "selector.bin");
    await runTool("objcopy", ["-O", "binary", "-j", ".text", linked, flat]);
    return efiProgram(await readFile(flat));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
