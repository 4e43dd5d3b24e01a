/** The library that is loaded into QEMU to work around errors of its CPU emulation: what and why is in ignne.c and cr8.c. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cached, keyOf } from "../../image/cache.ts";

const directory = fileURLToPath(new URL(".", import.meta.url));
const sources = ["code-patch.h", "code-patch.c", "ignne.c", "cr8.c"].map((name) => join(directory, name));
const libraryName = "qemu-fix.so";

/** Compiles the library unless the cache has it, and gives its path. */
export async function qemuFixLibrary(): Promise<string> {
  const key = keyOf(...(await Promise.all(sources.map((source) => readFile(source)))));
  const made = await cached("qemu-fix", key, async (target) => {
    await promisify(execFile)("gcc", [
      ...["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"],
      ...["-o", join(target, libraryName), ...sources.filter((source) => source.endsWith(".c"))],
    ]);
  });
  return join(made, libraryName);
}
