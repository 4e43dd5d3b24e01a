/** What the guests are made of: unmodified Debian packages, fetched by the build's own package cache. */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { debPackage } from "../../image/sources.ts";
import { buildDirectory } from "../paths.ts";

export type DebianSuite = "bookworm" | "trixie";

/** Fetches a package and unpacks it once. Returns the directory with its files. */
export async function unpackedPackage(name: string, suite: DebianSuite): Promise<string> {
  const deb = await debPackage(name, suite);
  const directory = join(buildDirectory, "packages", basename(deb, ".deb"));
  if (existsSync(directory)) return directory;
  const partial = `${directory}.partial-${process.pid}`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  execFileSync("dpkg-deb", ["-x", deb, partial]);
  // In one step, so that an interrupted run leaves no half directory that looks whole.
  if (existsSync(directory)) rmSync(partial, { recursive: true, force: true });
  else renameSync(partial, directory);
  return directory;
}

/** The entries of a directory that match. */
export function entriesMatching(directory: string, pattern: RegExp): string[] {
  return readdirSync(directory).filter((name) => pattern.test(name));
}
