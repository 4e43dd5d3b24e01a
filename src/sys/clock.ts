/** clock_gettime(2), and the clock that devices are given (Clock in src/vmm/contract.ts). */
import { check } from "./errno.ts";
import type { EventLoop } from "./loop.ts";
import { SYS } from "./syscall-numbers.ts";

const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;
const CLOCK_THREAD_CPUTIME_ID = 3;
const CLOCK_BOOTTIME = 7;

/** struct timespec as four words: seconds low and high, nanoseconds low and high. */
const timespec = new Uint32Array(4);

function readClock(clock: number): number {
  bridge.syscall(SYS.clock_gettime, clock, timespec);
  return ((timespec[0] as number) + (timespec[1] as number) * 2 ** 32) * 1000 + (timespec[2] as number) / 1e6;
}

/** Milliseconds, with fraction, that never go back; they start at power-on. */
export function monotonicMs(): number {
  return readClock(CLOCK_MONOTONIC);
}

/** Milliseconds since power-on, counting time asleep: what the kernel's log is stamped with, nearly. */
export function uptimeMs(): number {
  return readClock(CLOCK_BOOTTIME);
}

/** Milliseconds of CPU that this thread has used. */
export function threadCpuMs(): number {
  return readClock(CLOCK_THREAD_CPUTIME_ID);
}

/** Milliseconds since the Unix epoch. */
export function wallMs(): number {
  return readClock(CLOCK_REALTIME);
}

/** Sets the wall clock. Throws SystemError (EPERM without the capability). */
export function setWallMs(ms: number): void {
  const seconds = Math.floor(ms / 1000);
  const value = new Uint32Array([
    seconds,
    Math.floor(seconds / 2 ** 32),
    Math.floor((ms - seconds * 1000) * 1e6),
    0,
  ]);
  check(bridge.syscall(SYS.clock_settime, CLOCK_REALTIME, value), "clock_settime");
}

/** Time for devices: the kernel's clocks and the event loop's timers. */
export class SystemClock {
  readonly #loop: EventLoop;

  constructor(loop: EventLoop) {
    this.#loop = loop;
  }

  monotonicMs(): number {
    return monotonicMs();
  }

  wallMs(): number {
    return wallMs();
  }

  after(delayMs: number, callback: () => void): () => void {
    return this.#loop.after(delayMs, callback);
  }
}
