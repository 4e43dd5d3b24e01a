/**
 * Builds the kernel: Debian's source unchanged, our settings, an initramfs linked in.
 *
 * Compiling takes minutes, linking another initramfs in takes seconds. So the compiled tree stays in the cache under a
 * key of source, settings and compiler, and make does in it what is left to do. A tree for new settings starts as a copy
 * of the newest tree of the same source and compiler: make then compiles only what the changed options reach.
 */
import { existsSync } from "node:fs";
import {
  copyFile,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheRoot, keyOf, withLock } from "../cache.ts";
import { runLogged } from "../logged-process.ts";
import { runTool } from "../runtime/tool.ts";
import type { SourceTree } from "../sources.ts";
import { applySettings, type KernelSettings, verifySettings } from "./settings.ts";

/** What is compiled. */
export interface KernelInput {
  readonly source: SourceTree;
  readonly settings: KernelSettings;
}

export interface KernelOptions extends KernelInput {
  /** The initramfs to build in: an archive, not compressed (the whole kernel is). */
  readonly initramfs: Uint8Array;
  /** Where the bzImage is put. */
  readonly outPath: string;
  readonly logFile: string;
  /** What make is at: "CC kernel/fork.o". */
  readonly onDetail?: (detail: string) => void;
}

/** Trees of one source that are kept; each is a few hundred megabytes. */
const TREES_KEPT = 3;

/**
 * Makes the code more regular, so that it compresses better (docs/decisions/0001-kernel-size.md). An out-of-order CPU
 * schedules for itself.
 */
const COMPILER_FLAGS = "-fno-schedule-insns2 -fno-caller-saves -fno-shrink-wrap";
const XZ = fileURLToPath(new URL("xz.sh", import.meta.url));
const INITRAMFS_NAME = "thimble.cpio";
/** Set by the build, not by fragments. The path is relative to the tree, so that the tree can be copied. */
const BUILD_SETTINGS: KernelSettings = new Map([
  ["CONFIG_INITRAMFS_SOURCE", `"${INITRAMFS_NAME}"`],
  ["CONFIG_INITRAMFS_COMPRESSION_NONE", "y"],
]);

/** Files in a tree that say: its .config is final; it was compiled completely; a build is under way or was interrupted. */
const CONFIGURED_MARK = ".thimble-configured";
const COMPILED_MARK = ".thimble-compiled";
const BUSY_MARK = ".thimble-busy";

/** Products of the final link, which are no objects. */
const LINK_PRODUCTS = ["usr", "arch/x86/boot", "vmlinux"];
/** Longer than any single object takes to compile on a loaded machine. */
const LAST_WRITES_MS = 60_000;

/** The tree's key without and with the settings. */
interface TreeNames {
  readonly family: string;
  readonly name: string;
}

async function treeNames(options: KernelInput): Promise<TreeNames> {
  const versions = await Promise.all(["gcc", "ld"].map((tool) => runTool(tool, ["--version"])));
  const family = keyOf(options.source.version, ...versions).slice(0, 8);
  const settings = [...options.settings, ...BUILD_SETTINGS].map((setting) => setting.join("=")).sort();
  return { family, name: `${family}-${keyOf(settings.join("\n"), COMPILER_FLAGS)}` };
}

/** Names everything that decides the kernel's bytes, for skipping the step. */
export async function kernelKey(options: KernelInput): Promise<string> {
  const { name } = await treeNames(options);
  return keyOf(name, await readFile(XZ));
}

/** The compiled tree of a kernel, for looking into its objects. */
export async function kernelTree(options: KernelInput): Promise<string> {
  return join(cacheRoot(), "kernel", (await treeNames(options)).name);
}

/** Builds the bzImage. Errors: `kernel_setting_without_effect`, `build_tool_failed`. */
export async function buildKernel(options: KernelOptions): Promise<void> {
  const names = await treeNames(options);
  const trees = join(cacheRoot(), "kernel");
  await mkdir(trees, { recursive: true });
  await withLock(`kernel-${names.family}`, async () => {
    const tree = join(trees, names.name);
    await mkdir(dirname(options.logFile), { recursive: true });
    await writeFile(options.logFile, "");
    if (!existsSync(tree)) await startTree(trees, names);
    await configureTree(tree, options);
    await linkTree(tree, options);
    await copyFile(join(tree, "arch/x86/boot/bzImage"), options.outPath);
    await utimes(tree, new Date(), new Date());
    await pruneTrees(trees, names.family);
  });
}

/** The trees of a family, the one used last first. */
async function treesOf(trees: string, family: string): Promise<string[]> {
  const found: { path: string; usedAt: number }[] = [];
  for (const name of await readdir(trees)) {
    const path = join(trees, name);
    if (name.startsWith(`${family}-`)) found.push({ path, usedAt: (await stat(path)).mtimeMs });
  }
  return found.sort((a, b) => b.usedAt - a.usedAt).map((tree) => tree.path);
}

async function startTree(trees: string, { family, name }: TreeNames): Promise<void> {
  const partial = join(trees, `partial-${name}`);
  await rm(partial, { recursive: true, force: true });
  const newest = (await treesOf(trees, family)).find((path) => existsSync(join(path, COMPILED_MARK)));
  if (newest === undefined) {
    await mkdir(partial);
  } else {
    // Times are kept: make goes by them.
    await cp(newest, partial, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    await moveHostTools(partial, newest, join(trees, name));
    for (const mark of [CONFIGURED_MARK, COMPILED_MARK]) await rm(join(partial, mark), { force: true });
  }
  await rename(partial, join(trees, name));
}

/**
 * The build of objtool notes command lines with absolute paths. With another tree's paths in them it would be built
 * again, and because every object depends on it, everything would.
 */
async function moveHostTools(copy: string, from: string, to: string): Promise<void> {
  const tools = join(copy, "tools");
  for (const name of await readdir(tools, { recursive: true })) {
    if (!/\.(cmd|d)$/.test(name)) continue;
    const text = await readFile(join(tools, name), "utf8");
    if (text.includes(from)) await writeFile(join(tools, name), text.replaceAll(from, to));
  }
}

async function pruneTrees(trees: string, family: string): Promise<void> {
  for (const path of (await treesOf(trees, family)).slice(TREES_KEPT)) {
    await rm(path, { recursive: true, force: true });
  }
}

/** Arguments and environment of every make call. The same for all, or make would compile everything again. */
async function make(tree: string, options: KernelOptions, targets: readonly string[]): Promise<void> {
  const args = [
    "-C",
    options.source.directory,
    `O=${tree}`,
    `XZ=${XZ}`,
    `KCFLAGS=${COMPILER_FLAGS}`,
    "ARCH=x86_64",
    ...targets,
  ];
  // The date is the source's own, which its archive has kept.
  const date = Math.floor((await stat(join(options.source.directory, "Makefile"))).mtimeMs / 1000);
  await runLogged("make", args, {
    cwd: tree,
    logFile: options.logFile,
    // What would otherwise name this machine, its user and the hour.
    environment: {
      LC_ALL: "C",
      KBUILD_BUILD_TIMESTAMP: new Date(date * 1000).toUTCString(),
      KBUILD_BUILD_VERSION: "1",
      KBUILD_BUILD_USER: "thimble",
      KBUILD_BUILD_HOST: "thimble",
      SOURCE_DATE_EPOCH: String(date),
      MAKEFLAGS: "",
    },
    onLine(line) {
      const step = /^ {2}([A-Z][A-Z0-9_]*) +(\S+)/.exec(line);
      if (step !== null) options.onDetail?.(`${step[1]} ${step[2]}`);
    },
  });
}

async function configureTree(tree: string, options: KernelOptions): Promise<void> {
  const settings = new Map([...options.settings, ...BUILD_SETTINGS]);
  const path = join(tree, ".config");
  if (existsSync(path) && existsSync(join(tree, CONFIGURED_MARK))) return;
  await make(tree, options, ["tinyconfig"]);
  await writeFile(path, applySettings(await readFile(path, "utf8"), settings));
  await make(tree, options, ["olddefconfig"]);
  verifySettings(await readFile(path, "utf8"), settings);
  await writeFile(join(tree, CONFIGURED_MARK), "");
}

async function linkTree(tree: string, options: KernelOptions): Promise<void> {
  const busy = join(tree, BUSY_MARK);
  if (existsSync(busy)) await removeHalfWritten(tree);
  await writeFile(busy, "");
  const initramfs = join(tree, INITRAMFS_NAME);
  const before = existsSync(initramfs) ? await readFile(initramfs) : undefined;
  if (before === undefined || !before.equals(options.initramfs))
    await writeFile(initramfs, options.initramfs);
  // make does not know of xz's parameters, so it could keep what was packed with others.
  await rm(join(tree, "arch/x86/boot/compressed/vmlinux.bin.xz"), { force: true });
  await make(tree, options, [`-j${availableParallelism()}`, "bzImage"]);
  await writeFile(join(tree, COMPILED_MARK), "");
  await rm(busy);
}

/**
 * After an interruption: an object cut short beside the command line of its last compilation would look finished. The
 * last things written go, and make makes them again.
 */
async function removeHalfWritten(tree: string): Promise<void> {
  for (const product of LINK_PRODUCTS) await rm(join(tree, product), { recursive: true, force: true });
  const objects: { path: string; writtenAt: number }[] = [];
  for (const name of await readdir(tree, { recursive: true })) {
    if (!/\.[oa]$/.test(name)) continue;
    const path = join(tree, name);
    objects.push({ path, writtenAt: (await stat(path)).mtimeMs });
  }
  const last = objects.reduce((newest, { writtenAt }) => Math.max(newest, writtenAt), 0);
  for (const { path, writtenAt } of objects) {
    if (writtenAt >= last - LAST_WRITES_MS) await rm(path);
  }
}
