/**
 * Steps of a build: each has a key of its inputs and is skipped when the last run had the same key and its products
 * are still there. Durations are remembered in the cache as estimates for the next time.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { cacheRoot } from "./cache.ts";

/** What a build step tells while it runs (about once a second) and when it ends. */
export interface BuildProgress {
  /** A few words: "Kernel", "Flash ROM". */
  readonly step: string;
  readonly state: "running" | "done" | "unchanged";
  readonly elapsedMs: number;
  /** How long the step took the last time on this machine, or a guess before that. */
  readonly estimateMs: number;
  /** What it is at, if there is more to say: "CC kernel/fork.o". */
  readonly detail?: string;
}

export interface Step {
  readonly name: string;
  /** Before there is a measured duration. */
  readonly guessMs: number;
}

/** A step that can be skipped. */
export interface KeyedStep extends Step {
  /** Names all inputs. */
  readonly key: string;
  /** Files the step makes. */
  readonly products: readonly string[];
}

/** What a step does; it may say what it is at. */
export type Work<T> = (detail: (text: string) => void) => Promise<T>;

const TICK_MS = 1000;
/** A step that found everything done says nothing about how long it takes when there is something to do. */
const WORTH_REMEMBERING_MS = 500;

async function readJson<T>(path: string, otherwise: T): Promise<T> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as T;
  } catch {
    return otherwise; // absent, or cut short by an interruption: the step runs again
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const partial = `${path}.partial-${process.pid}`;
  await writeFile(partial, `${JSON.stringify(value, null, 2)}\n`);
  await rename(partial, path);
}

/** Runs the steps of one output directory. */
export class StepRunner {
  readonly #stampFile: string;
  readonly #onProgress: (progress: BuildProgress) => void;

  constructor(outDirectory: string, onProgress: (progress: BuildProgress) => void) {
    this.#stampFile = join(outDirectory, "steps.json");
    this.#onProgress = onProgress;
  }

  /** Runs `work`, which decides itself what is to do. */
  always<T>(step: Step, work: Work<T>): Promise<T> {
    return this.#timed(step, work);
  }

  /** Runs `work` unless nothing changed since its last run. */
  async whenChanged(step: KeyedStep, work: Work<void>): Promise<void> {
    const stamps = await readJson<Record<string, string>>(this.#stampFile, {});
    if (stamps[step.name] === step.key && step.products.every((product) => existsSync(product))) {
      this.#onProgress({ step: step.name, state: "unchanged", elapsedMs: 0, estimateMs: 0 });
      return;
    }
    delete stamps[step.name];
    await writeJson(this.#stampFile, stamps);
    await this.#timed(step, work);
    await writeJson(this.#stampFile, { ...stamps, [step.name]: step.key });
  }

  async #timed<T>(step: Step, work: Work<T>): Promise<T> {
    const estimatesFile = join(cacheRoot(), "build-times.json");
    const estimates = await readJson<Record<string, number>>(estimatesFile, {});
    const estimateMs = estimates[step.name] ?? step.guessMs;
    const start = performance.now();
    let detail: string | undefined;
    const tell = (state: BuildProgress["state"]): number => {
      const elapsedMs = performance.now() - start;
      const said = detail === undefined || state === "done" ? {} : { detail };
      this.#onProgress({ step: step.name, state, elapsedMs, estimateMs, ...said });
      return elapsedMs;
    };
    tell("running");
    const timer = setInterval(tell, TICK_MS, "running");
    let result: T;
    try {
      result = await work((text) => {
        detail = text;
      });
    } finally {
      clearInterval(timer);
    }
    const tookMs = tell("done");
    if (tookMs < WORTH_REMEMBERING_MS) return result;
    const latest = await readJson<Record<string, number>>(estimatesFile, {});
    await writeJson(estimatesFile, { ...latest, [step.name]: Math.round(tookMs) });
    return result;
  }
}
