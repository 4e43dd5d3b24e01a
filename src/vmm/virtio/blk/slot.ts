import type { VirtQueue } from "../queue.ts";

/** One of the device's queues. */
export interface RequestQueue {
  readonly index: number;
  queue: VirtQueue | null;
  /**
   * `handleQueue` is at work on it: it publishes at its end, and it is not entered again. A backend that waits in the
   * kernel lets vCPU threads run meanwhile, which may ring, reset, and start the queue anew under its feet.
   */
  batching: boolean;
  /** No slot was left: the next completion looks at the queue again. */
  starved: boolean;
}

/** A request at the backend. A free slot has its fields as they are here, whatever was before, but for the first three. */
export class Slot {
  /** Where it came from. */
  home: RequestQueue;
  head = 0;
  statusAddress = 0;
  /** Bytes the used ring reports: data read and the status byte. */
  written = 0;
  /** More is to do at a completion than to return the chain: the fields below count. */
  special = false;
  /** Calls to the backend that have not completed; the first error of them. */
  outstanding = 1;
  error = 0;
  flushAfter = false;
  /** What is at the backend now is a flush. */
  isFlush = false;
  /** It has failed before. */
  isRetry = false;
  readonly done: (result: number) => void;

  /** `epoch` is the driver it belongs to. */
  constructor(
    onCompleted: (slot: Slot, result: number) => void,
    readonly epoch: number,
    home: RequestQueue,
  ) {
    this.home = home;
    this.done = (result) => onCompleted(this, result);
  }
}
