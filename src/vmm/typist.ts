/**
 * Types keys on request, at the pace of a fast typist and no faster than the guest reads them: firmware polls its
 * keyboard, and a PS/2 keyboard keeps sixteen bytes.
 */
import { ThimbleError } from "../base/errors.ts";
import type { Clock } from "./contract.ts";
import type { Chord } from "./control.ts";
import type { InputSink } from "./input.ts";

/** Between two keys that go down or up. */
const STEP_MS = 20;
/** A guest that has not read a key for this long reads none: the rest is dropped. */
const PATIENCE_MS = 5000;
/** Keys going down or up that wait to be typed: four texts of the longest kind in capitals. */
const WAITING_MAX = 4096;

/** Where keys go; `settled` says that the guest has read those before. */
export interface TypingSink extends Pick<InputSink, "key"> {
  readonly settled: boolean;
}

export class Typist {
  readonly #sink: TypingSink;
  readonly #clock: Clock;
  /** Keycodes; negative for a key that goes up. */
  #waiting: number[] = [];
  readonly #down = new Set<number>();
  #busy = false;
  #lastAtMs = 0;

  constructor(sink: TypingSink, clock: Clock) {
    this.#sink = sink;
    this.#clock = clock;
  }

  /**
   * Takes chords to be typed one after the other: the keys of each go down in order and up in reverse order. Returns at
   * once. Throws ThimbleError("keys_busy") when too much waits already; then none of them is typed.
   */
  type(chords: readonly Chord[]): void {
    const steps = chords.flatMap((chord) => [...chord, ...chord.map((key) => -key).reverse()]);
    if (this.#waiting.length + steps.length > WAITING_MAX) {
      throw new ThimbleError("keys_busy", "Keys sent before are still being typed.");
    }
    this.#waiting.push(...steps);
    if (this.#busy) return;
    this.#busy = true;
    this.#lastAtMs = this.#clock.monotonicMs();
    this.#step();
  }

  #step(): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#sink.settled) {
      this.#lastAtMs = nowMs;
      const key = this.#waiting.shift();
      if (key === undefined) {
        this.#busy = false;
        return;
      }
      this.#press(Math.abs(key), key > 0);
    } else if (nowMs - this.#lastAtMs > PATIENCE_MS) {
      this.#waiting = [];
      for (const key of this.#down) this.#press(key, false);
      this.#busy = false;
      return;
    }
    this.#clock.after(STEP_MS, () => this.#step());
  }

  #press(key: number, down: boolean): void {
    if (down) this.#down.add(key);
    else this.#down.delete(key);
    this.#sink.key(key, down);
  }
}
