/**
 * Makes `thimble`: bundles the TypeScript of each role, compiles it to bytecode and links it with the engine and the
 * bridge into one static executable. The same inputs give the same bytes.
 */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build as esbuild } from "esbuild";
import { ThimbleError } from "../../base/errors.ts";
import { buildEngine, COMPILER, type EngineOptions, LINK_FLAGS } from "./engine.ts";
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

const SOURCE_DIR = fileURLToPath(new URL("../../", import.meta.url));
const ROLE_NAME = /^[a-z][a-z0-9-]*$/;

/** Bundles one role into a script without imports. */
async function bundleRole(
  entry: string,
  options: RuntimeOptions,
): Promise<{ script: string; modules: BundleSize["modules"] }> {
  const debug = options.debug ?? false;
  const result = await esbuild({
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    format: "iife",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2023",
    minify: !debug,
    ...(debug ? {} : { mangleProps: LOWERED_NAME, plugins: [privateNamesPlugin(SOURCE_DIR)] }),
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
  return { script: (result.outputFiles[0] as { text: string }).text, modules };
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
    const sizes = await Promise.all(
      roles.map(async (role): Promise<BundleSize> => {
        const { script, modules } = await bundleRole(options.bundles[role] as string, options);
        const scriptPath = join(options.outDir, `${role}.js`);
        await writeFile(scriptPath, script);
        const bytecodePath = join(work, `${role}.bin`);
        const strip = options.debug ? "keep" : "strip";
        await runTool(engine.bytecodeCompiler, [`${role}.js`, strip, scriptPath, bytecodePath]);
        const scriptBytes = Buffer.byteLength(script);
        return { role, scriptBytes, bytecodeBytes: (await stat(bytecodePath)).size, modules };
      }),
    );
    await writeFile(join(work, "bundles.S"), bundleTable(roles));
    // Paths relative to the working directory, so that no name of this machine can reach the output.
    await runTool(COMPILER, ["-c", "bundles.S", "-o", "bundles.o"], { cwd: work });
    const path = join(options.outDir, "thimble");
    await runTool(COMPILER, [...LINK_FLAGS, ...engine.objects, join(work, "bundles.o"), "-lm", "-o", path]);
    return { path, sizeBytes: (await readFile(path)).length, bundles: sizes };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
