/**
 * `npm run bench:micro`: what TypeScript takes per block request, exit and packet on the image's runtime, which runs
 * on this machine for that. Nothing is moved and no system call made in the measured part: it is the interpreter's
 * share alone. And, where this machine has KVM, what starting a VM takes. Last line: one JSON object. Fails only when a figure is missing, never on speed.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, ThimbleError } from "../../src/base/errors.ts";
import { buildRuntime } from "../../src/image/runtime/build.ts";
import { developmentEngine } from "../../src/image/runtime/development.ts";
import { circumstances, type MicroResult, writeRecord } from "../record.ts";
import { canStartNatively, measureStart } from "./start.ts";
import { microMeasures, START } from "./titles.ts";

/** Each run is the best of many samples; the best run is the least disturbed one. */
const RUNS = 3;
const RUN_TIMEOUT_MS = 120_000;
/** Reads the lines `MICRO name nanoseconds` of each run; the best of the runs in microseconds, by name. */
function best(outputs: readonly string[]): Map<string, number> {
  const times = new Map<string, number>();
  for (const output of outputs) {
    for (const [, name, ns] of output.matchAll(/^MICRO (\S+) (\d+(?:\.\d+)?)$/gm)) {
      const us = Number(ns) / 1000;
      times.set(name as string, Math.min(us, times.get(name as string) ?? us));
    }
  }
  return times;
}

async function main(): Promise<void> {
  const outDir = await mkdtemp(join(tmpdir(), "thimble-micro-"));
  try {
    const bundles = { micro: join(import.meta.dirname, "all.ts") };
    const { path } = await buildRuntime({ ...(await developmentEngine()), outDir, bundles });
    const outputs = Array.from({ length: RUNS }, () =>
      execFileSync(path, ["micro"], { encoding: "utf8", timeout: RUN_TIMEOUT_MS }),
    );
    const times = best(outputs);
    const measures = microMeasures.filter(({ needsKvm }) => needsKvm !== true || canStartNatively());
    if (canStartNatively()) times.set(START, await measureStart(join(outDir, "start")));
    const missing = measures.filter(({ name }) => !times.has(name)).map(({ name }) => name);
    if (missing.length > 0) throw new ThimbleError("no_figure", `not measured: ${missing.join(", ")}`);
    const results = measures.map((measure) => ({ ...measure, us: times.get(measure.name) as number }));
    for (const { title, us, aimUs } of results) {
      const aim = aimUs === undefined ? "" : `   aim ${aimUs.toFixed(2)}${us > aimUs ? ", missed" : ", met"}`;
      console.log(`${title.padEnd(40)}${us.toFixed(2).padStart(8)} µs${aim}`);
    }
    const json = results.map(
      ({ name, us, aimUs }): MicroResult => ({
        name,
        thimble: Number(us.toFixed(3)),
        unit: "us",
        betterIs: "lower",
        ...(aimUs === undefined ? {} : { aim: aimUs }),
      }),
    );
    writeRecord("bench-micro", { ...circumstances(), results: json });
    console.log(`\n${JSON.stringify({ results: json })}`);
  } finally {
    await rm(outDir, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`\nnpm run bench:micro failed at: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
