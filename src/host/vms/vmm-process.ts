/**
 * One VMM process, from its start to its end: the control connection, made again after each reset of the guest, and
 * what the end was.
 */
import { ThimbleError } from "../../base/errors.ts";
import type { ControlCall, ControlEvent, VmmStatus } from "../../vmm/control.ts";
import { type ManagedProcess, type Platform, type ProcessEnd, sleep, within } from "../platform/platform.ts";
import { Signal } from "../signal.ts";
import { ControlClient } from "./control-client.ts";
import type { RunDirectory } from "./run-directory.ts";

/** A VMM opens its control socket within some ten milliseconds, and each look for it costs both of them time. */
const FIRST_CONNECT_MS = 8;
/** From then on waiting grows from the first number to the second. */
const CONNECT_DELAY_MIN_MS = 2;
const CONNECT_DELAY_MAX_MS = 100;
/** How long a request waits for a VMM that is starting or being reset. */
const CONNECT_TIMEOUT_MS = 3000;
/** How long the last words of an ended VMM may take to arrive. */
const LAST_EVENT_MS = 500;
const SIGKILL = 9;
/** VmmExit.BadConfig; src/vmm/config.ts gives only types. */
const EXIT_BAD_CONFIG = 2;

type VmmPlatform = Pick<Platform, "after" | "connectUnix" | "files" | "log">;

/** Why a VM is off. */
export interface VmOutcome {
  readonly failed: boolean;
  readonly cause: string;
  readonly message: string;
}

export interface VmmListener {
  /** The guest runs, for the first time since the VMM's start or takeover. */
  onRunning(): void;
  /** The guest was reset, `resets` times in all. */
  onReset(resets: number): void;
  /** The machine is paused for this reason, or goes on (null). Not called twice for the same. */
  onPaused(reason: string | null): void;
}

export class VmmProcess {
  /** Resolves when the process has ended. Never rejects. */
  readonly ended: Promise<VmOutcome>;
  #client: ControlClient | null = null;
  #connected = new Signal<ControlClient>();
  #over = false;
  #running = false;
  #resets: number;
  #pauseReason: string | null = null;
  #stopRequested = false;
  #endEvent: (ControlEvent & { readonly event: "end" }) | null = null;

  /** `resets` is 0 for a new process and -1 for one taken over, whose number is not known yet. */
  constructor(
    private readonly platform: VmmPlatform,
    private readonly process: ManagedProcess,
    private readonly directory: RunDirectory,
    private readonly listener: VmmListener,
    resets: 0 | -1,
  ) {
    this.#resets = resets;
    this.ended = this.#outcome();
    void this.#keepConnected();
  }

  get pid(): number {
    return this.process.pid;
  }

  /** Rejects with ThimbleError (`vmm_gone`, `vmm_silent`, the VMM's own). */
  async request(call: ControlCall): Promise<VmmStatus | null> {
    if (call.op === "stop") this.#stopRequested = true;
    const client = this.#client ?? (await within(this.platform, CONNECT_TIMEOUT_MS, this.#connected.promise));
    if (client === null) throw new ThimbleError("vmm_gone", "The VM's process cannot be reached.");
    return client.request(call);
  }

  /** Ends the process at once. */
  kill(): void {
    this.#stopRequested = true;
    this.process.kill(SIGKILL);
  }

  async #keepConnected(): Promise<void> {
    let delayMs = CONNECT_DELAY_MIN_MS;
    if (this.#resets === 0) await sleep(this.platform, FIRST_CONNECT_MS);
    while (!this.#over) {
      const connection = await this.platform.connectUnix(this.directory.controlSocket).catch(() => null);
      if (connection === null) {
        await sleep(this.platform, delayMs);
        delayMs = Math.min(delayMs * 2, CONNECT_DELAY_MAX_MS);
        continue;
      }
      const client = new ControlClient(this.platform, connection, (event) => this.#event(event));
      this.#client = client;
      this.#connected.resolve(client);
      const status = await client.request({ op: "status" }).catch(() => null);
      if (status !== null) {
        this.#noteStatus(status);
        delayMs = CONNECT_DELAY_MIN_MS;
      }
      await client.closed;
      this.#client = null;
      this.#connected = new Signal();
      if (!this.#over) await sleep(this.platform, delayMs);
    }
  }

  #noteStatus(status: VmmStatus): void {
    const known = this.#resets;
    this.#resets = Math.max(known, status.resets);
    if (known >= 0 && status.resets > known) this.listener.onReset(status.resets);
    if (status.state === "running") this.#noteRunning();
    this.#notePaused(status.paused);
  }

  #notePaused(reason: string | null): void {
    if (reason === this.#pauseReason) return;
    this.#pauseReason = reason;
    this.listener.onPaused(reason);
  }

  #noteRunning(): void {
    if (this.#running) return;
    this.#running = true;
    this.listener.onRunning();
  }

  #event(event: ControlEvent): void {
    if (event.event === "running") this.#noteRunning();
    else if (event.event === "end") this.#endEvent = event;
    else if (event.event === "paused") this.#notePaused(event.reason);
    else if (this.#resets >= 0) this.listener.onReset(++this.#resets);
  }

  async #outcome(): Promise<VmOutcome> {
    const end = await this.process.ended;
    this.#over = true;
    if (this.#client !== null) await within(this.platform, LAST_EVENT_MS, this.#client.closed);
    this.#client?.close();
    return this.#describe(end);
  }

  #describe(end: ProcessEnd): VmOutcome {
    const event = this.#endEvent;
    if (this.#stopRequested) return { failed: false, cause: "stopped", message: "The VM was forced off." };
    if ("signal" in end) {
      const cause = `signal ${end.signal}`;
      return { failed: true, cause, message: `The VM's process was killed by ${cause}.` };
    }
    const lost = "unknown" in end && event === null;
    if (lost) {
      const message = "The VM's process ended without a word after the host agent had been restarted.";
      return { failed: true, cause: "lost", message };
    }
    const exitCode = "exitCode" in end ? end.exitCode : event?.cause === "failed" ? 1 : 0;
    if (exitCode === 0) {
      const message = event?.message ?? "The guest powered off.";
      return { failed: false, cause: event?.cause ?? "guest-power-off", message };
    }
    const words = event?.message || this.directory.lastWords();
    return {
      failed: true,
      cause: exitCode === EXIT_BAD_CONFIG ? "bad-config" : "failed",
      message: words === "" ? `The VM's process ended with status ${exitCode}.` : words,
    };
  }
}
