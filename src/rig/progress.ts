/**
 * Steps of a long command, with elapsed time and an estimate.
 *
 * On a terminal the running step's line is renewed every second; elsewhere each step gives one line at its start, if
 * it is expected to take long, and one at its end. Estimates are the durations of the last run.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { messageOf, ThimbleError } from "../base/errors.ts";
import { buildDirectory } from "./paths.ts";

/** A step that failed: which one, why, and where to read more. */
export class StepError extends ThimbleError {
  constructor(
    readonly step: string,
    readonly reason: string,
    readonly logFile: string | undefined,
    options?: { cause?: unknown },
  ) {
    const log = logFile === undefined ? "" : `\n  log: ${logFile}`;
    super("step_failed", `${step}: ${reason}${log}`, options);
  }
}

export interface StepOptions {
  /** Used until there is a measured duration. */
  readonly estimateMs: number;
  /** Named when the step fails. */
  readonly logFile?: string | (() => string | undefined);
}

const estimatesFile = join(buildDirectory, "estimates.json");
/** Without a terminal, a step expected to be shorter than this is only reported when it is done. */
const announceFromMs = 5000;

/** 4.2 s, 3 min 20 s. */
export function formatDuration(ms: number): string {
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export class Progress {
  readonly #estimates: Record<string, number>;
  readonly #live = process.stdout.isTTY === true;
  /** The steps that have been announced and not ended, by name. */
  readonly #announced = new Set<string>();

  constructor() {
    try {
      this.#estimates = JSON.parse(readFileSync(estimatesFile, "utf8")) as Record<string, number>;
    } catch {
      this.#estimates = {};
    }
  }

  /** A line of its own between steps. */
  say(text: string): void {
    process.stdout.write(`${this.#live ? "\r\x1b[K" : ""}${text}\n`);
  }

  /** Shows a step as running. */
  running(name: string, elapsedMs: number, estimateMs: number, detail = ""): void {
    const about = `about ${formatDuration(estimateMs)}`;
    if (this.#live) {
      const line = `  … ${name}  ${formatDuration(elapsedMs)} of ${about}  ${detail}`;
      process.stdout.write(`\r\x1b[K${line.slice(0, (process.stdout.columns ?? 80) - 1)}`);
    } else if (estimateMs >= announceFromMs && !this.#announced.has(name)) {
      this.#announced.add(name);
      this.say(`  … ${name} (${about})`);
    }
  }

  /** Shows a step as ended. */
  ended(name: string, mark: "✓" | "✗", text: string): void {
    this.#announced.delete(name);
    this.say(`  ${mark} ${name}  ${text}`);
  }

  /** Runs one step. `work` may say what it is at. Errors: StepError. */
  async step<T>(
    name: string,
    options: StepOptions,
    work: (detail: (text: string) => void) => Promise<T>,
  ): Promise<T> {
    const start = performance.now();
    const elapsed = (): number => performance.now() - start;
    const estimateMs = this.#estimates[name] ?? options.estimateMs;
    let detail = "";
    const show = (): void => this.running(name, elapsed(), estimateMs, detail);
    show();
    const timer = setInterval(show, 1000);
    try {
      const result = await work((text) => {
        detail = text;
      });
      clearInterval(timer);
      this.ended(name, "✓", formatDuration(elapsed()));
      this.#remember(name, elapsed());
      return result;
    } catch (error) {
      clearInterval(timer);
      this.ended(name, "✗", formatDuration(elapsed()));
      if (error instanceof StepError) throw error;
      const logFile = typeof options.logFile === "function" ? options.logFile() : options.logFile;
      throw new StepError(name, messageOf(error), logFile, { cause: error });
    }
  }

  #remember(name: string, tookMs: number): void {
    this.#estimates[name] = Math.round(tookMs);
    mkdirSync(dirname(estimatesFile), { recursive: true });
    writeFileSync(estimatesFile, `${JSON.stringify(this.#estimates, null, 2)}\n`);
  }
}
