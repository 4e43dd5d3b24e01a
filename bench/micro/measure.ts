/** Time of short work on Node and on the image's runtime, in lines that run.ts reads. */
import { monotonicMs } from "../../src/sys/clock.ts";
import { SYS } from "../../src/sys/syscall-numbers.ts";
import { hasBridge, utf8Encode } from "../../src/sys/text.ts";

/** Repetitions in one sample: some hundred microseconds of work. */
const ROUNDS = 8;
const SAMPLES = 150;

const now = hasBridge ? monotonicMs : () => performance.now();

function print(line: string): void {
  if (hasBridge) {
    const bytes = utf8Encode(`${line}\n`);
    bridge.syscall(SYS.write, 1, bytes, bytes.length);
  } else console.log(line);
}

/** Prints what one unit of `name` took. */
export function report(name: string, nanoseconds: number): void {
  print(`MICRO ${name} ${nanoseconds.toFixed(1)}`);
}

/** Nanoseconds of one unit of `work`, which does `units` of them in a call. */
export function nsPerUnit(units: number, work: () => void): number {
  for (let i = 0; i < 5 * ROUNDS; i++) work();
  let best = Number.POSITIVE_INFINITY;
  // Short samples, the best of many: other work on the machine disturbs some, not all.
  for (let sample = 0; sample < SAMPLES; sample++) {
    const start = now();
    for (let i = 0; i < ROUNDS; i++) work();
    best = Math.min(best, now() - start);
  }
  return (best * 1e6) / (ROUNDS * units);
}
