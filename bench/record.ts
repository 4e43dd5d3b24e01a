/** What a run leaves behind for docs.ts: results with date and machine, in build/. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { buildDirectory } from "../src/rig/paths.ts";

/** Where and when something was measured. */
export interface Circumstances {
  /** ISO 8601, UTC. */
  readonly date: string;
  /** Processor, number of CPUs, memory. */
  readonly machine: string;
}

export interface RunRecord<Result> extends Circumstances {
  /** How the simulated server ran: "kvm" or "tcg". Absent where there was none. */
  readonly accelerator?: string;
  /** What a reader must know besides: a sentence. */
  readonly note?: string;
  readonly results: readonly Result[];
}

/** One figure of `npm run bench:micro`. */
export interface MicroResult {
  readonly name: string;
  readonly thimble: number;
  readonly unit: string;
  readonly betterIs: "lower";
  /** What the project aims at. */
  readonly aim?: number;
}

type RecordName = "bench" | "bench-micro";

const fileOf = (name: RecordName): string => join(buildDirectory, `${name}.json`);

export function circumstances(): Circumstances {
  const all = cpus();
  const gib = Math.round(totalmem() / 1024 ** 3);
  const model = all[0]?.model.trim() ?? "unknown processor";
  return { date: new Date().toISOString(), machine: `${model}, ${all.length} CPUs, ${gib} GiB` };
}

/** Replaces what an earlier run left. */
export function writeRecord<Result>(name: RecordName, record: RunRecord<Result>): void {
  mkdirSync(buildDirectory, { recursive: true });
  writeFileSync(fileOf(name), `${JSON.stringify(record, null, 2)}\n`);
}

/** What the last run left; null when there was none. */
export function readRecord<Result>(name: RecordName): RunRecord<Result> | null {
  const file = fileOf(name);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as RunRecord<Result>) : null;
}
