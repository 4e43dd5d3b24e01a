/**
 * Builds a `thimble` with any bundles, for development:
 *   node --import tsx src/image/runtime/main.ts --entry ROLE=FILE.ts … --out DIR
 *        [--quickjs DIR] [--cache DIR] [--debug] [--modules] [--optimize -O2] [--flag=-DWITH_PROXY …]
 */
import { parseArgs } from "node:util";
import { messageOf } from "../../base/errors.ts";
import { buildRuntime } from "./build.ts";
import { developmentEngine } from "./development.ts";

const { values } = parseArgs({
  options: {
    entry: { type: "string", multiple: true, default: [] },
    out: { type: "string" },
    quickjs: { type: "string" },
    cache: { type: "string" },
    modules: { type: "boolean", default: false },
    debug: { type: "boolean", default: false },
    optimize: { type: "string", default: "-Os" },
    flag: { type: "string", multiple: true, default: [] },
  },
});

const bundles: Record<string, string> = {};
for (const entry of values.entry) {
  const [role, path] = entry.split("=");
  if (role && path) bundles[role] = path;
}
if (values.out === undefined || Object.keys(bundles).length === 0) {
  console.error(
    "usage: main.ts --entry ROLE=FILE.ts … --out DIR [--debug] [--optimize -O2] [--quickjs DIR] [--cache DIR]",
  );
  process.exit(64);
}
try {
  if (values.quickjs !== undefined) process.env.THIMBLE_QUICKJS = values.quickjs;
  const engine = await developmentEngine();
  const runtime = await buildRuntime({
    ...engine,
    cacheDir: values.cache ?? engine.cacheDir,
    outDir: values.out,
    optimize: values.optimize,
    extraFlags: values.flag,
    debug: values.debug,
    bundles,
  });
  for (const bundle of runtime.bundles) {
    console.log(`${bundle.role}: ${bundle.scriptBytes} bytes of script, ${bundle.bytecodeBytes} of bytecode`);
    if (values.modules)
      for (const { path, scriptBytes } of bundle.modules) console.log(`  ${scriptBytes}  ${path}`);
  }
  console.log(`${runtime.path}: ${runtime.sizeBytes} bytes`);
} catch (error) {
  console.error(messageOf(error));
  process.exit(1);
}
