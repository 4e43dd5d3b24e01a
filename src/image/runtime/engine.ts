/**
 * Compiles the engine and the bridge, once per version of their sources, flags and compiler: the objects and the
 * bytecode compiler are kept in the cache directory, so a change of TypeScript alone never compiles C.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runTool } from "./tool.ts";

export const COMPILER = "musl-gcc";

const RUNTIME_DIR = fileURLToPath(new URL("../../../runtime/", import.meta.url));
/** The engine's files beside quickjs.c, which engine.c includes. */
const ENGINE_SOURCES = ["cutils.c", "dtoa.c", "libregexp.c", "libunicode.c"];
const RUNTIME_SOURCES = [
  "engine.c",
  "heap.c",
  "threads.c",
  "jobs.c",
  "utf8.c",
  "bridge.c",
  "format.c",
  "main.c",
];
/** What the bytecode compiler is linked from: the same engine object, so that both agree on the bytecode. */
const COMPILER_OBJECTS = ["compile.o", "engine.o", "cutils.o", "dtoa.o", "libregexp.o", "libunicode.o"];

const COMPILE_FLAGS = [
  "-std=gnu11",
  "-fwrapv",
  "-fno-pie",
  "-ffunction-sections",
  "-fdata-sections",
  "-fno-asynchronous-unwind-tables",
  "-fno-unwind-tables",
  "-fno-ident",
  "-D_GNU_SOURCE",
  '-DCONFIG_VERSION=""', // only printed by a memory dump that is left out
];
/** Warnings hold for our files; the engine's are compiled as its own build does. */
const OUR_WARNINGS = ["-Wall", "-Wextra", "-Werror"];

/** Library functions with large tables that no script needs; runtime/engine.c says what stands in their place. */
const LEFT_OUT = [
  ...["unicode_script", "unicode_general_category", "unicode_prop", "localtime_r"],
  ...[
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "atan2",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
  ],
  ...["expm1", "log1p", "log10", "cbrt"],
];

export const LINK_FLAGS = [
  "-static",
  "-no-pie",
  "-s",
  "-Wl,--gc-sections",
  ...LEFT_OUT.map((name) => `-Wl,--wrap=${name}`),
  "-Wl,--build-id=none",
  "-Wl,-z,noseparate-code",
  "-Wl,-z,stack-size=8388608",
];

export interface EngineOptions {
  /** The unpacked QuickJS source. */
  readonly quickjsSourceDir: string;
  /** Where compiled objects are kept between builds. */
  readonly cacheDir: string;
  /** Optimisation flag for the engine, `-O2` or `-Os`. */
  readonly optimize?: string;
  /** More flags for the C compiler, to measure what a part costs (`-DWITH_PROXY`). */
  readonly extraFlags?: readonly string[];
}

/** The compiled engine: what to link, and the program that makes bytecode for it. */
export interface Engine {
  /** Names the engine's version, flags and compiler. */
  readonly key: string;
  readonly objects: readonly string[];
  readonly bytecodeCompiler: string;
}

async function engineKey(options: EngineOptions, flags: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  hash.update(JSON.stringify(flags));
  hash.update(await runTool(COMPILER, ["--version"]));
  for (const dir of [options.quickjsSourceDir, RUNTIME_DIR]) {
    for (const name of (await readdir(dir)).sort()) {
      if (!/\.[ch]$/.test(name)) continue;
      hash.update(`${name}\0`);
      hash.update(await readFile(join(dir, name)));
    }
  }
  return hash.digest("hex").slice(0, 24);
}

/** Returns the compiled engine, compiling it when the cache has none for these sources and flags (about 20 s). */
export async function buildEngine(options: EngineOptions): Promise<Engine> {
  const source = options.quickjsSourceDir;
  const flags = [...COMPILE_FLAGS, options.optimize ?? "-Os", ...(options.extraFlags ?? [])];
  const key = await engineKey(options, flags);
  const dir = join(options.cacheDir, "runtime", key);
  const engine = {
    key,
    objects: [...RUNTIME_SOURCES, ...ENGINE_SOURCES].map((name) => join(dir, objectName(name))),
    bytecodeCompiler: join(dir, "compile"),
  };
  if (existsSync(dir)) return engine;

  // Built beside its place and moved there when whole, so that an interrupted build leaves nothing that looks done.
  const partial = `${dir}.${process.pid}`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  const compile = (path: string, name: string, warnings: readonly string[]) =>
    runTool(COMPILER, [
      ...flags,
      ...warnings,
      "-isystem",
      source,
      `-ffile-prefix-map=${source}=quickjs`,
      `-ffile-prefix-map=${RUNTIME_DIR}=runtime/`,
      "-c",
      path,
      "-o",
      join(partial, objectName(name)),
    ]);
  await Promise.all([
    ...RUNTIME_SOURCES.map((name) =>
      compile(join(RUNTIME_DIR, name), name, name === "engine.c" ? ["-w"] : OUR_WARNINGS),
    ),
    compile(join(RUNTIME_DIR, "compile.c"), "compile.c", OUR_WARNINGS),
    ...ENGINE_SOURCES.map((name) => compile(join(source, name), name, ["-w"])),
  ]).catch(async (error: unknown) => {
    await rm(partial, { recursive: true, force: true });
    throw error;
  });
  const objects = COMPILER_OBJECTS.map((name) => join(partial, name));
  await runTool(COMPILER, [...LINK_FLAGS, ...objects, "-lm", "-o", join(partial, "compile")]);
  await rename(partial, dir).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    await rm(partial, { recursive: true, force: true }); // another build of the same was faster
  });
  return engine;
}

function objectName(source: string): string {
  return source.replace(/\.c$/, ".o");
}
