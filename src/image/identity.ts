/** What the image says about itself: its version, and a time it cannot have been built before. */
import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const DAY_MS = 24 * 60 * 60 * 1000;

export interface Identity {
  /** As in package.json. */
  readonly version: string;
  /**
   * The day of the last commit, in milliseconds since the epoch. Not the hour of the build: the same sources must give
   * the same image, and a commit must not make every user's build new.
   */
  readonly buildMs: number;
}

/** Reads it from the repository at `root`; from package.json's age where there is no Git history. */
export async function readIdentity(root: string): Promise<Identity> {
  const packageFile = join(root, "package.json");
  const { version } = JSON.parse(await readFile(packageFile, "utf8")) as { version: string };
  const committedMs = await promisify(execFile)("git", ["-C", root, "log", "-1", "--format=%ct"])
    .then(({ stdout }) => Number(stdout) * 1000)
    .catch(() => 0);
  const knownMs = committedMs > 0 ? committedMs : (await stat(packageFile)).mtimeMs;
  return { version, buildMs: Math.floor(knownMs / DAY_MS) * DAY_MS };
}

/** The same as constants for the bundles (src/base/version.ts, src/init/clock-sanity.ts). */
export function identityConstants({ version, buildMs }: Identity): Record<string, string> {
  return { THIMBLE_VERSION: JSON.stringify(version), THIMBLE_BUILD_MS: String(buildMs) };
}
