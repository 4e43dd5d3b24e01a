/**
 * Debian's archive through apt with a configuration of our own: own sources, own lists, nothing of the system's read
 * or changed but its archive keys. apt checks the signatures of the lists and through them the hashes of what it fetches.
 */
import { existsSync, statSync } from "node:fs";
import { mkdir, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ThimbleError } from "../base/errors.ts";
import { cacheRoot, withLock } from "./cache.ts";
import { runTool } from "./runtime/tool.ts";

export type DebianSuite = "bookworm" | "trixie";

const ARCHIVE = "http://deb.debian.org/debian";
const SECURITY_ARCHIVE = "http://deb.debian.org/debian-security";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** Lists older than this are fetched again before something new is downloaded. */
const LISTS_FRESH_MS = 3 * 24 * 60 * 60 * 1000;

/** What apt knows of a package: the version that would be fetched and what it depends on. */
export interface PackageVersion {
  readonly name: string;
  readonly version: string;
  readonly depends: string;
}

function aptDirectory(suite: DebianSuite): string {
  return join(cacheRoot(), "apt", suite);
}

function aptOptions(suite: DebianSuite): string[] {
  const directory = aptDirectory(suite);
  const settings = {
    "Dir::Etc::sourcelist": join(directory, "sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::State::Lists": join(directory, "lists"),
    "Dir::State::status": join(directory, "status"),
    "Dir::Cache": join(directory, "cache"),
    // The cache belongs to whoever builds; apt's own user could not write there.
    "APT::Sandbox::User": "",
    "APT::Get::List-Cleanup": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
  };
  return Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
}

function sourceLines(suite: DebianSuite): string {
  if (!existsSync(KEYRING)) {
    throw new ThimbleError("no_archive_keys", `${KEYRING} is missing: install debian-archive-keyring`);
  }
  const lines = [];
  for (const kind of ["deb", "deb-src"]) {
    lines.push(`${kind} [signed-by=${KEYRING}] ${ARCHIVE} ${suite} main`);
    lines.push(`${kind} [signed-by=${KEYRING}] ${SECURITY_ARCHIVE} ${suite}-security main`);
  }
  return `${lines.join("\n")}\n`;
}

/** Makes sure there are lists of the suite, not older than a few days unless the archive cannot be reached. */
export async function updateLists(suite: DebianSuite): Promise<void> {
  const directory = aptDirectory(suite);
  const stamp = join(directory, "updated");
  await withLock(`apt-${suite}`, async () => {
    const ageMs = existsSync(stamp) ? Date.now() - statSync(stamp).mtimeMs : Number.POSITIVE_INFINITY;
    if (ageMs < LISTS_FRESH_MS) return;
    await mkdir(join(directory, "lists", "partial"), { recursive: true });
    await mkdir(join(directory, "cache", "archives", "partial"), { recursive: true });
    await writeFile(join(directory, "sources.list"), sourceLines(suite));
    await writeFile(join(directory, "status"), "");
    try {
      await runTool("apt-get", [...aptOptions(suite), "--error-on=any", "update"]);
    } catch (error) {
      if (ageMs === Number.POSITIVE_INFINITY) {
        const message = `Debian's lists of ${suite} could not be fetched; check the network`;
        throw new ThimbleError("apt_update_failed", message, { cause: error });
      }
      return;
    }
    await writeFile(stamp, "");
    await utimes(stamp, new Date(), new Date());
  });
}

/** The newest version of a binary package. Throws ThimbleError("no_package"). */
export async function findPackage(name: string, suite: DebianSuite): Promise<PackageVersion> {
  await updateLists(suite);
  const shown = await runTool("apt-cache", [...aptOptions(suite), "--no-all-versions", "show", name]).catch(
    (error: unknown) => {
      throw new ThimbleError("no_package", `Debian ${suite} has no package ${name}`, { cause: error });
    },
  );
  const field = (label: string): string => new RegExp(`^${label}: (.*)$`, "m").exec(shown)?.[1]?.trim() ?? "";
  return { name, version: field("Version"), depends: field("Depends") };
}

/** Downloads a binary package's .deb into a directory. */
export async function downloadPackage(
  found: PackageVersion,
  suite: DebianSuite,
  directory: string,
): Promise<void> {
  await fetchInto(suite, ["download", `${found.name}=${found.version}`], directory);
}

/** Downloads a source package (.dsc and what it names; apt checks their hashes) into a directory. */
export async function downloadSource(name: string, suite: DebianSuite, directory: string): Promise<void> {
  await updateLists(suite);
  await fetchInto(suite, ["source", "--download-only", name], directory);
}

async function fetchInto(suite: DebianSuite, command: readonly string[], directory: string): Promise<void> {
  const args = [...aptOptions(suite), ...command];
  try {
    await runTool("apt-get", args, { cwd: directory });
  } catch {
    // The archive drops a version when the next one is there: lists made before that name a file that is gone.
    await rm(join(aptDirectory(suite), "updated"), { force: true });
    await updateLists(suite);
    await runTool("apt-get", args, { cwd: directory });
  }
}
