/**
 * The cache outside the checkout: sources, packages, compiled trees, each under a key of its inputs.
 *
 * An entry is a directory that appears in one step, so an interrupted run never leaves a half entry that looks whole;
 * locks are held through the kernel, so a killed process does not block the next run.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { ThimbleError } from "../base/errors.ts";

/** Where the cache is: THIMBLE_CACHE, or `thimble` in the user's cache directory. */
export function cacheRoot(): string {
  const given = process.env.THIMBLE_CACHE;
  if (given) return given;
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "thimble");
}

/** A short key of everything that went in. */
export function keyOf(...inputs: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const input of inputs) hash.update(`${input.length}:`).update(input);
  return hash.digest("hex").slice(0, 20);
}

/**
 * Runs `work` while no other process, and no other call in this one, runs one under the same name.
 * Errors: `lock_failed`, and those of `work`.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const directory = join(cacheRoot(), "locks");
  await mkdir(directory, { recursive: true });
  const release = await takeLock(join(directory, name.replace(/[^A-Za-z0-9._-]/g, "_")));
  try {
    return await work();
  } finally {
    await release();
  }
}

/**
 * Node has no flock(2), so util-linux's `flock` holds the lock and ends when its standard input does: on release, or
 * when this process ends in whatever way. Process ids in lock files would need guesses about whose they are by now.
 */
function takeLock(file: string): Promise<() => Promise<void>> {
  return new Promise((resolve, reject) => {
    const holder = spawn("flock", ["--no-fork", "--exclusive", file, "sh", "-c", "echo held; exec cat"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = new Promise<void>((end) => holder.once("close", () => end()));
    const failed = (why: string): void => {
      reject(new ThimbleError("lock_failed", `The lock ${file} could not be taken: ${why}.`));
    };
    holder.once("error", (error) => failed(error.message));
    holder.once("close", (code) => failed(`flock ended with exit code ${code}`));
    holder.stdout.once("data", () => {
      resolve(() => {
        holder.stdin.end();
        return ended;
      });
    });
  });
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
