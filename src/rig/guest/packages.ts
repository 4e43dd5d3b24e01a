/** What the guests are made of: unmodified Debian packages from the build's own package cache. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { debPackage } from "../../image/sources.ts";

/** Path of busybox, statically linked: the programs of guests, and of the tests' window into the host. */
export async function busyboxPath(): Promise<string> {
  return join(await debPackage("busybox-static", "bookworm"), "bin/busybox");
}

/** The entries of a directory that match. */
export function entriesMatching(directory: string, pattern: RegExp): string[] {
  return readdirSync(directory).filter((name) => pattern.test(name));
}
