/** The library that is loaded into QEMU to work around errors of its CPU emulation: what and why is in qemu-fix.c. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cached, keyOf } from "../../image/cache.ts";

const source = fileURLToPath(new URL("qemu-fix.c", import.meta.url));
const libraryName = "qemu-fix.so";

/** Compiles the library unless the cache has it, and gives its path. */
export async function qemuFixLibrary(): Promise<string> {
  const directory = await cached("qemu-fix", keyOf(await readFile(source)), async (made) => {
    await promisify(execFile)("gcc", [
      ...["-O1", "-Wall", "-Werror", "-shared", "-fPIC"],
      ...["-o", join(made, libraryName), source],
    ]);
  });
  return join(directory, libraryName);
}
