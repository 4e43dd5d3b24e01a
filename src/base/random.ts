/** A small seeded generator (mulberry32) for generated-input tests: same seed, same sequence, on every engine. */
export class SeededRandom {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** A uniform integer in [0, 2^32). */
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** A uniform integer in [0, limit). */
  below(limit: number): number {
    return this.u32() % limit;
  }

  /** One of the given values. */
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  fill(target: Uint8Array): Uint8Array {
    for (let i = 0; i < target.length; i++) target[i] = this.u32();
    return target;
  }
}

/** What tests that nobody gave a seed start from: a change is judged by the same input every time. */
const USUAL_SEED = 20261123;

/**
 * The seed for a test run: `THIMBLE_SEED`, or always the same. New ones are tried by `npm run test:long`, which sets
 * the variable. Tests print it on failure.
 */
export function testSeed(): number {
  const given = typeof process === "undefined" ? undefined : process.env.THIMBLE_SEED;
  return given === undefined ? USUAL_SEED : Number(given) >>> 0;
}
