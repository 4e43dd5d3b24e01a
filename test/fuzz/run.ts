/**
 * `npm run fuzz -- --device NAME --iterations N [--seed S]`: devices under generated input for as long as wanted.
 *
 * The lives are run in a child process, which this one watches: a life that does not end is a hang. The steps of a life
 * come from its seed, so a failing one is known even when the child never answers. Failing inputs are kept, cut to what
 * matters, in build/fuzz; `--replay FILE` runs one again.
 */
import { fork } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { messageOf } from "../../src/base/errors.ts";
import { testSeed } from "../../src/base/random.ts";
import { buildDirectory } from "../../src/rig/paths.ts";
import { type Failure, LIFE_STEPS, live, minimise, stepsOf } from "./engine.ts";
import type { Step } from "./steps.ts";
import type { SubjectKind } from "./subject.ts";
import { DEVICES } from "./table.ts";

/** A life takes milliseconds. */
const HANG_MS = 60_000;
const PROGRESS_MS = 10_000;
/** What the engine's heap may gain over a run, after its first tenth. */
const GROWTH_BYTES_MAX = 32 * 1024 ** 2;

/** What the child says: it begins a life; it has failed in one; it has come to its end. */
type Message =
  | { readonly kind: "life"; readonly seed: number; readonly steps: number }
  | { readonly kind: "failed"; readonly seed: number; readonly failure: Failure }
  | { readonly kind: "done"; readonly steps: number; readonly grownBytes: number };

interface KeptInput {
  readonly device: string;
  readonly seed: number;
  readonly message: string;
  readonly steps: readonly Step[];
}

function kindOf(device: string): SubjectKind {
  const kind = DEVICES[device];
  if (kind === undefined)
    throw new Error(`There is no device "${device}". Devices: ${Object.keys(DEVICES).join(", ")}.`);
  return kind;
}

function heapBytes(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

/** In the child: lives until the iterations are done or a rule is broken. */
function runLives(device: string, iterations: number, firstSeed: number): void {
  const kind = kindOf(device);
  const tell = (message: Message) => process.send?.(message);
  let warm = 0;
  let steps = 0;
  for (let seed = firstSeed; steps < iterations; seed = (seed + 1) >>> 0, steps += LIFE_STEPS) {
    tell({ kind: "life", seed, steps });
    const failure = live(kind, stepsOf(kind, seed));
    if (failure !== null) return void tell({ kind: "failed", seed, failure });
    if (warm === 0 && steps >= iterations / 10) warm = heapBytes();
  }
  tell({ kind: "done", steps, grownBytes: heapBytes() - warm });
}

function keep(input: KeptInput): string {
  const directory = join(buildDirectory, "fuzz");
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${input.device}-${input.seed}.json`);
  writeFileSync(file, JSON.stringify(input));
  return file;
}

/** Runs a device in a child and watches it. Resolves to whether every rule held. */
function fuzz(device: string, iterations: number, seed: number): Promise<boolean> {
  const started = performance.now();
  console.log(`${device}: seed ${seed}, ${iterations} iterations`);
  const child = fork(fileURLToPath(import.meta.url), ["--child", device, String(iterations), String(seed)], {
    execArgv: ["--expose-gc", "--import", "tsx"],
  });
  let life = seed;
  let steps = 0;
  let watch: NodeJS.Timeout | undefined;
  return new Promise((resolve) => {
    const end = (held: boolean, words: string) => {
      clearTimeout(watch);
      clearInterval(progress);
      child.removeAllListeners("exit");
      child.kill("SIGKILL");
      console.log(`${device}: ${words}`);
      resolve(held);
    };
    const rate = () => `${Math.round(steps / ((performance.now() - started) / 1000))} a second`;
    const progress = setInterval(() => console.log(`${device}: ${steps} so far, ${rate()}`), PROGRESS_MS);
    const expectLife = () => {
      clearTimeout(watch);
      watch = setTimeout(() => {
        const message = `no end within ${HANG_MS} ms`;
        const file = keep({ device, seed: life, message, steps: stepsOf(kindOf(device), life) });
        end(false, `HANGS with seed ${life}; kept in ${file}`);
      }, HANG_MS);
    };
    child.on("message", (message: Message) => {
      if (message.kind === "life") {
        life = message.seed;
        steps = message.steps;
        expectLife();
      } else if (message.kind === "failed") {
        const kind = kindOf(device);
        const { failure } = message;
        const rest = minimise(kind, stepsOf(kind, message.seed));
        const file = keep({ device, seed: message.seed, message: failure.message, steps: rest });
        end(
          false,
          `FAILS with seed ${message.seed} (${rest.length} steps kept in ${file}): ${failure.message}`,
        );
      } else {
        steps = message.steps;
        const grew = `heap ${(message.grownBytes / 1024 ** 2).toFixed(1)} MiB larger`;
        if (message.grownBytes <= GROWTH_BYTES_MAX) end(true, `${steps} held, ${rate()}, ${grew}`);
        else end(false, `GROWS: ${grew} after ${steps} with seed ${seed}`);
      }
    });
    child.on("exit", (code, signal) =>
      end(false, `the process ended with ${signal ?? code} at seed ${life}`),
    );
    expectLife();
  });
}

function replay(file: string): boolean {
  const { device, steps } = JSON.parse(readFileSync(file, "utf8")) as KeptInput;
  const failure = live(kindOf(device), steps);
  console.log(failure === null ? `${device}: held` : `${device}: step ${failure.step}: ${failure.message}`);
  return failure === null;
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: {
      device: { type: "string", default: "all" },
      iterations: { type: "string", default: "1000000" },
      seed: { type: "string" },
      list: { type: "boolean" },
      replay: { type: "string" },
    },
  });
  if (values.list) {
    for (const name of Object.keys(DEVICES)) console.log(name);
    return true;
  }
  if (values.replay !== undefined) return replay(values.replay);
  const iterations = Number(values.iterations);
  if (!Number.isInteger(iterations) || iterations < 1)
    throw new Error("--iterations takes a whole number from 1 on.");
  const seed = values.seed === undefined ? testSeed() : Number(values.seed) >>> 0;
  let held = true;
  for (const device of values.device === "all" ? Object.keys(DEVICES) : [values.device]) {
    kindOf(device);
    held = (await fuzz(device, iterations, seed)) && held;
  }
  return held;
}

const [first, device = "", iterations, seed] = process.argv.slice(2);
if (first === "--child") {
  runLives(device, Number(iterations), Number(seed));
} else {
  try {
    process.exitCode = (await main()) ? 0 : 1;
  } catch (error) {
    console.error(`npm run fuzz: ${messageOf(error)}`);
    process.exitCode = 2;
  }
}
