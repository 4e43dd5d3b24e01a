/** What the build takes from Debian, fetched once and unpacked in the cache. A run with everything cached needs no network. */
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ThimbleError } from "../base/errors.ts";
import { type DebianSuite, downloadPackage, downloadSource, findPackage } from "./apt.ts";
import { cached, cacheRoot, keyOf } from "./cache.ts";
import { runTool } from "./runtime/tool.ts";

/** The newest LTS series that Debian stable has. */
const LINUX_SOURCE = "linux-source-6.12";

/** A source tree and the version it is of. */
export interface SourceTree {
  readonly directory: string;
  readonly version: string;
}

/** What was chosen the last time, so that a cached run asks nobody. */
interface Resolution {
  readonly version: string;
  readonly directory: string;
}

/** Versions are looked up again after this long, so that fixes arrive. */
const RESOLUTION_FRESH_MS = 14 * 24 * 60 * 60 * 1000;

async function resolved(key: string, resolve: () => Promise<Resolution>): Promise<Resolution> {
  const file = join(cacheRoot(), "resolved", `${key}.json`);
  const known = await readResolution(file);
  if (known !== null && Date.now() - known.at < RESOLUTION_FRESH_MS) return known;
  let fresh: Resolution;
  try {
    fresh = await resolve();
  } catch (error) {
    if (known !== null) return known; // older, but there
    throw error;
  }
  await mkdir(dirname(file), { recursive: true });
  const partial = `${file}.${process.pid}`;
  await writeFile(partial, JSON.stringify({ ...fresh, at: Date.now() }));
  await rename(partial, file);
  return fresh;
}

async function readResolution(file: string): Promise<(Resolution & { at: number }) | null> {
  if (!existsSync(file)) return null;
  const value = JSON.parse(await readFile(file, "utf8")) as Resolution & { at: number };
  return existsSync(value.directory) ? value : null;
}

/** A binary package's files, unpacked; nothing of it is installed or run. Returns the directory. */
export async function debPackage(name: string, suite: DebianSuite): Promise<string> {
  return (await unpackedDeb(name, suite)).directory;
}

async function unpackedDeb(name: string, suite: DebianSuite): Promise<Resolution> {
  return resolved(`deb-${suite}-${name}`, async () => {
    const found = await findPackage(name, suite);
    const directory = await cached("packages", `${name}_${keyOf(suite, found.version)}`, async (target) => {
      await downloadPackage(found, suite, target);
      const deb = (await readdir(target)).find((file) => file.endsWith(".deb"));
      if (deb === undefined) throw new ThimbleError("no_package", `apt fetched no file for ${name}`);
      await runTool("dpkg-deb", ["-x", join(target, deb), target]);
      await rm(join(target, deb));
    });
    return { version: found.version, directory };
  });
}

/**
 * Debian's unmodified cloud kernel. The package of that name is empty and depends on the real one.
 * Returns the directory with boot/vmlinuz-… and lib/modules (usr/lib/modules in trixie).
 */
export async function cloudKernelPackage(suite: DebianSuite): Promise<string> {
  const resolution = await resolved(`cloud-kernel-${suite}`, async () => {
    const meta = await findPackage("linux-image-cloud-amd64", suite);
    const real = /linux-image-[^ ,|]+/.exec(meta.depends)?.[0];
    if (real === undefined) throw new ThimbleError("no_package", `${suite}'s cloud kernel names no package`);
    return unpackedDeb(real, suite);
  });
  return resolution.directory;
}

/** The kernel's source: Debian's tree, its security fixes included. */
export async function linuxSource(): Promise<SourceTree> {
  return resolved("linux", async () => {
    const deb = await unpackedDeb(LINUX_SOURCE, "trixie");
    const directory = await cached("sources", `linux-${keyOf(deb.version)}`, async (target) => {
      const archive = join(deb.directory, "usr/src", `${LINUX_SOURCE}.tar.xz`);
      await runTool("tar", ["xf", archive, "--strip-components=1", "-C", target]);
    });
    return { version: deb.version, directory };
  });
}

/** QuickJS's source, unpatched: upstream's archive as Debian's source package has it. */
export async function quickjsSource(): Promise<SourceTree> {
  return resolved("quickjs", async () => {
    const { version } = await findPackage("quickjs", "trixie");
    const directory = await cached("sources", `quickjs-${keyOf(version)}`, async (target) => {
      const download = join(target, "download");
      await mkdir(download);
      await downloadSource("quickjs", "trixie", download);
      const archive = (await readdir(download)).find((file) => /\.orig\.tar\.\w+$/.test(file));
      if (archive === undefined) throw new ThimbleError("no_package", "apt fetched no source of quickjs");
      await runTool("tar", ["xf", join(download, archive), "--strip-components=1", "-C", target]);
      await rm(download, { recursive: true });
    });
    return { version, directory };
  });
}

/** The stock OVMF flash files. */
export async function ovmfFirmware(suite: DebianSuite): Promise<{ codePath: string; varsPath: string }> {
  const directory = join(await debPackage("ovmf", suite), "usr/share/OVMF");
  return { codePath: join(directory, "OVMF_CODE_4M.fd"), varsPath: join(directory, "OVMF_VARS_4M.fd") };
}

/** OVMF that checks signatures once keys are enrolled, which its variables here are not; it needs a machine with SMM. */
export async function ovmfSecureBoot(suite: DebianSuite): Promise<{ codePath: string; varsPath: string }> {
  const directory = join(await debPackage("ovmf", suite), "usr/share/OVMF");
  return {
    codePath: join(directory, "OVMF_CODE_4M.secboot.fd"),
    varsPath: join(directory, "OVMF_VARS_4M.fd"),
  };
}
