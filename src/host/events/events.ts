/** What has happened on the host, numbered, for clients that follow. */
import { type Platform, timestamp } from "../platform/platform.ts";
import type { ObjectReference } from "../tasks/tasks.ts";

export type EventKind =
  | "vm.started"
  | "vm.ended"
  | "vm.reset"
  | "vm.failed"
  | "vm.paused"
  | "vm.resumed"
  | "host.booted";

export interface HostEvent {
  readonly seq: number;
  readonly at: string;
  readonly kind: EventKind;
  readonly object: ObjectReference;
  readonly message: string;
  readonly cause?: string;
}

/** Events kept; the oldest are forgotten first. */
const EVENTS_MAX = 1000;

export class EventLog {
  readonly #platform: Pick<Platform, "after" | "wallMs" | "uptimeMs" | "log">;
  readonly #events: HostEvent[] = [];
  readonly #waiting = new Set<() => void>();
  #lastSeq: number;

  constructor(platform: Pick<Platform, "after" | "wallMs" | "uptimeMs" | "log">) {
    this.#platform = platform;
    // An agent that takes over after a crash must go on above the numbers given out: fewer than one a millisecond.
    this.#lastSeq = Math.floor(platform.uptimeMs());
  }

  add(kind: EventKind, object: ObjectReference, message: string, cause?: string): void {
    const at = timestamp(this.#platform);
    const seq = ++this.#lastSeq;
    this.#events.push({ seq, at, kind, object, message, ...(cause === undefined ? {} : { cause }) });
    if (this.#events.length > EVENTS_MAX) this.#events.shift();
    this.#platform.log.info(`${kind} ${object.id}: ${message}`);
    for (const wake of [...this.#waiting]) wake();
  }

  /** Events after number `seq`; when there is none yet, those that come within `waitMs`. */
  async after(seq: number, waitMs: number): Promise<HostEvent[]> {
    if (this.#lastSeq <= seq && waitMs > 0) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          cancel();
          resolve();
        };
        const cancel = this.#platform.after(waitMs, wake);
        this.#waiting.add(wake);
      });
    }
    return this.#events.filter((event) => event.seq > seq);
  }
}
