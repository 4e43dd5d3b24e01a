/** Where the rig keeps things. Everything is inside build/, except the cache that survives a fresh clone. */
import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { atExit } from "./cleanup.ts";

/** The repository's root. */
export const repositoryRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export const buildDirectory = join(repositoryRoot, "build");

let directoriesMade = 0;

/** A directory for one server's or one program's files. */
export interface RunDirectory {
  readonly path: string;
  /** Logs are kept for reading after a failure; they are overwritten by later runs of the same name. */
  readonly logDirectory: string;
  remove(): void;
}

/** Makes build/run/NAME-PID-N, removed on `remove()` and at the end of the process. */
export function makeRunDirectory(name: string): RunDirectory {
  const path = join(buildDirectory, "run", `${name}-${process.pid}-${++directoriesMade}`);
  const logDirectory = join(buildDirectory, "log");
  mkdirSync(path, { recursive: true });
  mkdirSync(logDirectory, { recursive: true });
  const withdraw = atExit(() => rmSync(path, { recursive: true, force: true }));
  return {
    path,
    logDirectory,
    remove() {
      withdraw();
      rmSync(path, { recursive: true, force: true });
    },
  };
}
