/**
 * The cache outside the checkout: sources, packages, compiled trees, each under a key of its inputs.
 *
 * An entry is a directory that appears in one step, so an interrupted run never leaves a half entry that looks whole;
 * locks are directories that name the process holding them, so a killed process does not block the next run.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const LOCK_RETRY_MS = 200;

/** Where the cache is: THIMBLE_CACHE, or `thimble` in the user's cache directory. */
export function cacheRoot(): string {
  const given = process.env["THIMBLE_CACHE"];
  if (given) return given;
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "thimble");
}

/** A short key of everything that went in. */
export function keyOf(...inputs: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const input of inputs) hash.update(`${input.length}:`).update(input);
  return hash.digest("hex").slice(0, 20);
}

/** Runs `work` while no other process runs one under the same name. */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const lock = join(cacheRoot(), "locks", name.replace(/[^A-Za-z0-9._-]/g, "_"));
  await mkdir(join(cacheRoot(), "locks"), { recursive: true });
  while (!(await takeLock(lock))) await sleep(LOCK_RETRY_MS);
  try {
    return await work();
  } finally {
    await rm(lock, { recursive: true, force: true });
  }
}

async function takeLock(lock: string): Promise<boolean> {
  // Made whole beside and renamed, so that a lock never exists without its owner's id.
  const mine = `${lock}.${process.pid}`;
  await mkdir(mine, { recursive: true });
  await writeFile(join(mine, "pid"), String(process.pid));
  try {
    await rename(mine, lock);
    return true;
  } catch {
    await rm(mine, { recursive: true, force: true });
  }
  const owner = Number(await readFile(join(lock, "pid"), "utf8").catch(() => "0"));
  if (owner > 0 && !existsSync(`/proc/${owner}`)) await rm(lock, { recursive: true, force: true });
  return false;
}

/**
 * The directory of a cache entry, made by `make` when it is not there. `make` fills the directory it is given; when it
 * throws nothing is kept.
 */
export async function cached(
  kind: string,
  key: string,
  make: (directory: string) => Promise<void>,
): Promise<string> {
  const directory = join(cacheRoot(), kind, key);
  if (existsSync(directory)) return directory;
  return withLock(`${kind}-${key}`, async () => {
    if (existsSync(directory)) return directory;
    const partial = `${directory}.partial-${process.pid}`;
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true });
    try {
      await make(partial);
      await rename(partial, directory);
    } catch (error) {
      await rm(partial, { recursive: true, force: true });
      throw error;
    }
    return directory;
  });
}
