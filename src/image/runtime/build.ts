/**
 * Makes `thimble`: bundles the TypeScript of each role, compiles it to bytecode and links it with the engine and the
 * bridge into one static executable. The same inputs give the same bytes.
 */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build as esbuild, type Plugin } from "esbuild";
import { ThimbleError } from "../../base/errors.ts";
import { buildEngine, COMPILER, type EngineOptions, LINK_FLAGS } from "./engine.ts";
import { type Part, partsPlugin, type SharedNames, sharedPlugin, walkParts } from "./parts.ts";
import { LOWERED_NAME, privateNamesPlugin } from "./private-names.ts";
import { runTool } from "./tool.ts";

export interface RuntimeOptions extends EngineOptions {
  /** Role name to the TypeScript file it starts with. */
  readonly bundles: Readonly<Record<string, string>>;
  /** Where `thimble` and the bundles as text (`ROLE.js`, for reading stack traces) are put. */
  readonly outDir: string;
  /** Not minified, names and line numbers kept in stack traces. The release build has neither. */
  readonly debug?: boolean;
  /** Constants for the bundles, as esbuild's `define`. */
  readonly define?: Readonly<Record<string, string>>;
}

/** Sizes in bytes, for the size report. */
export interface BundleSize {
  /** Or a role and one of its parts, with a dot between. */
  readonly role: string;
  readonly scriptBytes: number;
  readonly bytecodeBytes: number;
  /** What each source file adds to the script, largest first. */
  readonly modules: readonly { readonly path: string; readonly scriptBytes: number }[];
}

export interface Runtime {
  /** The executable's path. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly bundles: readonly BundleSize[];
}

type MangleCache = Record<string, string | false>;

const SOURCE_DIR = fileURLToPath(new URL("../../", import.meta.url));
const ROLE_NAME = /^[a-z][a-z0-9-]*$/;

interface Script {
  /** The role, or role and part with a dot between. */
  readonly name: string;
  readonly text: string;
  readonly modules: BundleSize["modules"];
}

/** Constants and tables of numbers: small, and as well in several scripts. */
const COPIED = /\/(bits|[a-z-]+-numbers|layout|addresses)\.ts$/;

/** Bundles one role into a script without imports, and one for each of its parts (parts.ts). */
async function bundleRole(role: string, entry: string, options: RuntimeOptions): Promise<Script[]> {
  const shared: SharedNames = new Map();
  let parts: Part[] = [];
  const plugin = partsPlugin(role, shared, (found) => {
    parts = found;
  });
  const first = await bundle(entry, options, [plugin]);
  const walked = await walkParts(parts, new Set(first.modules.map(({ path }) => resolve(path))), (path) =>
    COPIED.test(path),
  );
  for (const { used } of walked) {
    for (const [path, names] of used) shared.set(path, new Set([...(shared.get(path) ?? []), ...names]));
  }
  const main = parts.length === 0 ? first : await bundle(entry, options, [plugin]);
  const scripts = walked.map(async ({ part, used }): Promise<Script> => {
    // A class of the part may extend one of the script: their private names must stay apart.
    const cache = main.mangleCache;
    const { text, modules } = await bundle(part.entry, options, [sharedPlugin(used, shared)], cache);
    return { name: `${role}.${part.name}`, text, modules };
  });
  return [{ name: role, text: main.text, modules: main.modules }, ...(await Promise.all(scripts))];
}

async function bundle(
  entry: string,
  options: RuntimeOptions,
  plugins: readonly Plugin[],
  mangleCache: MangleCache = {},
): Promise<{ text: string; modules: BundleSize["modules"]; mangleCache: MangleCache }> {
  const debug = options.debug ?? false;
  const lower = debug ? [] : [privateNamesPlugin(SOURCE_DIR)];
  const result = await esbuild({
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    // A module makes each of its functions in constant time, a function of many variables does not.
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2023",
    minify: !debug,
    ...(debug ? {} : { mangleProps: LOWERED_NAME, mangleCache }),
    plugins: [...plugins, ...lower],
    keepNames: false,
    treeShaking: true,
    legalComments: "none",
    define: { THIMBLE_DEBUG: String(debug), ...options.define },
    logLevel: "silent",
  }).catch((error: unknown) => {
    throw new ThimbleError("bundle_failed", `${entry} could not be bundled: ${error}`, { cause: error });
  });
  const inputs = Object.values(result.metafile.outputs)[0]?.inputs ?? {};
  const modules = Object.entries(inputs).map(([path, { bytesInOutput }]) => ({
    path,
    scriptBytes: bytesInOutput,
  }));
  modules.sort((a, b) => b.scriptBytes - a.scriptBytes);
  const { text } = result.outputFiles[0] as { text: string };
  return { text, modules, mangleCache: result.mangleCache ?? {} };
}

/** Generates the table of bundles (struct bundle in runtime/runtime.h) as assembly that includes the bytecode. */
function bundleTable(roles: readonly string[]): string {
  const lines = [".section .rodata"];
  roles.forEach((role, i) => {
    lines.push(`name${i}: .asciz "${role}"`, ".balign 16", `start${i}: .incbin "${role}.bin"`, `end${i}:`);
  });
  lines.push(".balign 8", ".global bundles, bundle_count", "bundles:");
  roles.forEach((_, i) => {
    lines.push(`.quad name${i}, start${i}, end${i}`);
  });
  lines.push(`bundle_count: .quad ${roles.length}`, '.section .note.GNU-stack,"",@progbits', "");
  return lines.join("\n");
}

/** Builds `thimble` into `outDir`. Takes about a second when only TypeScript changed. */
export async function buildRuntime(options: RuntimeOptions): Promise<Runtime> {
  const roles = Object.keys(options.bundles).sort();
  for (const role of roles) {
    if (!ROLE_NAME.test(role))
      throw new ThimbleError("bad_role", `"${role}" is not a role name (lower case)`);
  }
  const engine = await buildEngine(options);
  await mkdir(options.outDir, { recursive: true });
  const work = await mkdtemp(join(tmpdir(), "thimble-runtime-"));
  try {
    const scripts = await Promise.all(
      roles.map((role) => bundleRole(role, options.bundles[role] as string, options)),
    );
    const sizes = await Promise.all(
      scripts.flat().map(async ({ name, text, modules }): Promise<BundleSize> => {
        const scriptPath = join(options.outDir, `${name}.js`);
        await writeFile(scriptPath, text);
        const bytecodePath = join(work, `${name}.bin`);
        const strip = options.debug ? "keep" : "strip";
        await runTool(engine.bytecodeCompiler, [`${name}.js`, strip, scriptPath, bytecodePath]);
        const scriptBytes = Buffer.byteLength(text);
        return { role: name, scriptBytes, bytecodeBytes: (await stat(bytecodePath)).size, modules };
      }),
    );
    await writeFile(join(work, "bundles.S"), bundleTable(sizes.map(({ role }) => role)));
    // Paths relative to the working directory, so that no name of this machine can reach the output.
    await runTool(COMPILER, ["-c", "bundles.S", "-o", "bundles.o"], { cwd: work });
    const path = join(options.outDir, "thimble");
    await runTool(COMPILER, [...LINK_FLAGS, ...engine.objects, join(work, "bundles.o"), "-lm", "-o", path]);
    return { path, sizeBytes: (await readFile(path)).length, bundles: sizes };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
