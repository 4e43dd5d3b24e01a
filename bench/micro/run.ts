/**
 * `npm run bench:micro`: what TypeScript takes per block request, exit and packet on the image's runtime, which runs
 * on this machine for that. Nothing is moved and no system call made in the measured part: it is the interpreter's
 * share alone. Last line: one JSON object. Fails only when a figure is missing, never on speed.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, ThimbleError } from "../../src/base/errors.ts";
import { buildRuntime } from "../../src/image/runtime/build.ts";
import { developmentEngine } from "../../src/image/runtime/development.ts";

/** Each run is the best of many samples; the best run is the least disturbed one. */
const RUNS = 3;
const RUN_TIMEOUT_MS = 120_000;
/** Issue 4: TypeScript per block request. */
const BLOCK_AIM_US = 1.5;

interface MicroMeasure {
  readonly name: string;
  readonly title: string;
  readonly aimUs?: number;
}

const measures: readonly MicroMeasure[] = [
  { name: "queue-direct", title: "virtqueue: take and return a chain of 3" },
  { name: "blk-read-direct", title: "block request, read 4 KiB", aimUs: BLOCK_AIM_US },
  { name: "blk-write-direct", title: "block request, write 4 KiB", aimUs: BLOCK_AIM_US },
  { name: "queue-indirect", title: "virtqueue, indirect table" },
  { name: "blk-read-indirect", title: "block request, read, indirect", aimUs: BLOCK_AIM_US },
  { name: "blk-write-indirect", title: "block request, write, indirect", aimUs: BLOCK_AIM_US },
  { name: "exit-pio-read", title: "exit, port read (serial port)" },
  { name: "exit-pio-write", title: "exit, port write (serial port)" },
  { name: "exit-mmio-read", title: "exit, MMIO read (virtio configuration)" },
  { name: "exit-mmio-write", title: "exit, MMIO write (virtio configuration)" },
  { name: "net-transmit", title: "packet from the guest, user-space path" },
  { name: "net-receive", title: "packet to the guest, user-space path" },
];

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
    const missing = measures.filter(({ name }) => !times.has(name)).map(({ name }) => name);
    if (missing.length > 0) throw new ThimbleError("no_figure", `not measured: ${missing.join(", ")}`);
    const results = measures.map((measure) => ({ ...measure, us: times.get(measure.name) as number }));
    for (const { title, us, aimUs } of results) {
      const aim = aimUs === undefined ? "" : `   aim ${aimUs.toFixed(2)}${us > aimUs ? ", missed" : ", met"}`;
      console.log(`${title.padEnd(40)}${us.toFixed(2).padStart(8)} µs${aim}`);
    }
    const json = results.map(({ name, us, aimUs }) => ({
      name,
      thimble: Number(us.toFixed(3)),
      unit: "us",
      betterIs: "lower",
      ...(aimUs === undefined ? {} : { aim: aimUs }),
    }));
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
