/**
 * Measures the runtime on this machine, compiled for size and for speed: node --import tsx bench/runtime/main.ts
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildRuntime } from "../../src/image/runtime/build.ts";
import { developmentEngine } from "../../src/image/runtime/development.ts";

const STARTS = 200;
const engine = await developmentEngine();
const outDir = await mkdtemp(join(tmpdir(), "thimble-bench-"));

try {
  const empty = join(outDir, "empty.ts");
  await writeFile(empty, "bridge.syscall(231, 0);");
  const calls = fileURLToPath(new URL("./calls.native.ts", import.meta.url));
  const table: Record<string, Record<string, number>> = {};
  for (const optimize of ["-Os", "-O2"]) {
    const bundles = { calls, empty };
    const { path, sizeBytes } = await buildRuntime({ ...engine, outDir, bundles, optimize });
    const rows: Record<string, number> = { "executable, bytes": sizeBytes };
    rows["executable after xz -9e, bytes"] = execFileSync("xz", ["-9e", "--check=none", "-c", path]).length;
    const start = performance.now();
    for (let i = 0; i < STARTS; i++) execFileSync(path, ["empty"]);
    rows["start and end of a process (with Node's spawn), us"] = Math.round(
      ((performance.now() - start) * 1000) / STARTS,
    );
    const measured = JSON.parse(execFileSync(path, ["calls"], { encoding: "utf8" })) as Record<
      string,
      number
    >;
    for (const [name, ns] of Object.entries(measured)) rows[`${name}, ns`] = ns;
    for (const [name, value] of Object.entries(rows)) {
      table[name] ??= {};
      (table[name] as Record<string, number>)[optimize] = value;
    }
  }
  console.table(table);
} finally {
  await rm(outDir, { recursive: true, force: true });
}
