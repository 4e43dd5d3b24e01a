/** The engine's memory (runtime/heap.c). */
import type { EventLoop } from "./loop.ts";

/** Long enough that nobody notices the work, short enough that a burst is soon over for the host, too. */
const INTERVAL_MS = 60_000;

/**
 * From now on, once a minute: what nobody can reach is freed and whole free pages go back to the kernel. The engine by itself
 * looks for cycles only when its memory has grown by half, and never gives anything back.
 */
export function trimHeapRegularly(loop: Pick<EventLoop, "after">): void {
  loop.after(INTERVAL_MS, () => {
    bridge.gc();
    trimHeapRegularly(loop);
  });
}
