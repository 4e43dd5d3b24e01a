/** Bytes between a port's queues and its backend, for the console with one port and the one with many. */
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { VirtQueue } from "../queue.ts";
import { scatter, walk } from "../segments.ts";

/** Chains moved in one call, before other events have their turn. */
const CHAINS_PER_CALL = 128;
/** Drivers use a page, or the pages of a pipe; backends keep no more than this of a chain. */
const CHAIN_BYTES_MAX = 128 * 1024;

export interface ByteSink {
  /** Absent: always. */
  readonly hasRoom?: boolean;
  write(bytes: Uint8Array): void;
}

/**
 * Hands what the driver sends to the sink; true when nothing is left. Otherwise `again` was called, or the sink has no
 * room and the caller comes back when it has.
 */
export function drain(memory: GuestMemory, queue: VirtQueue, sink: ByteSink, again: () => void): boolean {
  let budget = CHAINS_PER_CALL;
  do {
    queue.suppressNotifications();
    for (;;) {
      if (sink.hasRoom === false) {
        queue.flush();
        return false;
      }
      const head = queue.pop();
      if (head < 0) break;
      if (queue.readableBytes > CHAIN_BYTES_MAX) {
        queue.fail("more bytes at once than a port takes");
        break;
      }
      // The sink may keep what it is given; guest memory changes under it.
      walk(memory, queue.readable, 0, CHAIN_BYTES_MAX, (bytes) => sink.write(bytes.slice()));
      queue.push(head, 0);
      if (--budget === 0) {
        queue.flush();
        again();
        return false;
      }
    }
    queue.flush();
  } while (queue.resumeNotifications());
  return true;
}

/** Puts bytes into the driver's buffers; returns how many had room, all of them for a queue that does not run. */
export function fill(memory: GuestMemory, queue: VirtQueue, bytes: Uint8Array, again: () => void): number {
  if (!queue.running) return bytes.length;
  let taken = 0;
  for (let budget = CHAINS_PER_CALL; taken < bytes.length; budget--) {
    if (budget === 0) {
      again();
      break;
    }
    const head = queue.pop();
    if (head < 0) {
      if (queue.resumeNotifications()) continue;
      break;
    }
    const written = scatter(memory, queue.writable, 0, bytes.subarray(taken));
    queue.push(head, written);
    taken += written;
  }
  queue.flush();
  return queue.running ? taken : bytes.length;
}
