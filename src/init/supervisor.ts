/** Keeps one program running: starts it, and starts it again, ever more slowly, when it ends. */
import { messageOf } from "../base/errors.ts";
import { monotonicMs } from "../sys/clock.ts";
import { close } from "../sys/fs.ts";
import type { Logger } from "../sys/log.ts";
import type { EventLoop } from "../sys/loop.ts";
import { describeExit, type ExitStatus, kill, spawn } from "../sys/process.ts";
import { BackOff } from "./back-off.ts";

export class Supervisor {
  readonly #loop: EventLoop;
  readonly #log: Logger;
  readonly #name: string;
  readonly #argv: readonly string[];
  readonly #backOff = new BackOff();
  #pid = 0;
  #startedMs = 0;
  #stopping = false;
  #onStopped: (() => void) | null = null;
  #cancelRestart: () => void = () => {};

  constructor(loop: EventLoop, log: Logger, name: string, argv: readonly string[]) {
    this.#loop = loop;
    this.#log = log;
    this.#name = name;
    this.#argv = argv;
  }

  start(): void {
    this.#startedMs = monotonicMs();
    try {
      const child = spawn({ path: this.#argv[0] as string, argv: this.#argv, stdin: null });
      close(child.pidfd); // PID 1 reaps everything itself; see `ended`
      this.#pid = child.pid;
    } catch (error) {
      this.#log.error(`${this.#name} could not be started: ${messageOf(error)}`);
      this.#restartLater();
    }
  }

  /** Tells of a process that was reaped; any may be told. */
  ended(pid: number, status: ExitStatus): void {
    if (pid !== this.#pid) return;
    this.#pid = 0;
    if (this.#stopping) {
      this.#onStopped?.();
      return;
    }
    this.#log.error(`${this.#name} ended: ${describeExit(status)}`);
    this.#restartLater();
  }

  /** Ends it for good with a signal and resolves when it has ended. It may take its time: the caller bounds the wait. */
  stop(signal: number): Promise<void> {
    this.#stopping = true;
    this.#cancelRestart();
    return new Promise((resolve) => {
      this.#onStopped = resolve;
      if (this.#pid === 0 || !kill(this.#pid, signal)) resolve();
    });
  }

  #restartLater(): void {
    const delayMs = this.#backOff.next(monotonicMs() - this.#startedMs);
    this.#log.info(`${this.#name} is started again in ${delayMs / 1000} s`);
    this.#cancelRestart = this.#loop.after(delayMs, () => this.start());
  }
}
