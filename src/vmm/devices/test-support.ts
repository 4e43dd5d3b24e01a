/** What device tests put in the place of the machine: a clock that the test moves and a line that it watches. */

import type { SeededRandom } from "../../base/random.ts";
import type { CharBackend, Clock, DeviceState, InterruptLine, RegisterBlock, Stateful } from "../contract.ts";

/** A clock that stands still until `advance`; timers fire in order of time. */
export class ManualClock implements Clock {
  nowMs = 1000;
  wallOffsetMs = 1_700_000_000_000;
  #timers: { at: number; callback: () => void }[] = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs + this.wallOffsetMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.nowMs + Math.max(0, delayMs), callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((t) => t !== timer);
    };
  }

  get pending(): number {
    return this.#timers.length;
  }

  advance(ms: number): void {
    const end = this.nowMs + ms;
    for (let fired = 0; fired < 100_000; fired++) {
      const due = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((t) => t !== due);
      this.nowMs = Math.max(this.nowMs, due.at);
      due.callback();
    }
    this.nowMs = end;
  }
}

export class RecordedLine implements InterruptLine {
  level = false;
  /** How often the line rose. */
  rises = 0;

  set(asserted: boolean): void {
    if (asserted && !this.level) this.rises++;
    this.level = asserted;
  }
}

/** A terminal: keeps what was written, offers what `type` is given until it is taken. */
export class TestTerminal implements CharBackend {
  output = "";
  writes = 0;
  #waiting: number[] = [];
  #receiver: (bytes: Uint8Array) => number = () => 0;

  write(bytes: Uint8Array): void {
    this.writes++;
    for (const byte of bytes) this.output += String.fromCharCode(byte);
  }

  onInput(receiver: (bytes: Uint8Array) => number): void {
    this.#receiver = receiver;
  }

  resume(): void {
    if (this.#waiting.length === 0) return;
    this.#waiting = this.#waiting.slice(this.#receiver(Uint8Array.from(this.#waiting)));
  }

  type(text: string): void {
    const wasEmpty = this.#waiting.length === 0;
    for (const c of text) this.#waiting.push(c.charCodeAt(0));
    if (wasEmpty) this.resume();
  }
}

/** A saved state as another process would get it. */
export function throughJson(state: DeviceState): DeviceState {
  return JSON.parse(JSON.stringify(state)) as DeviceState;
}

/**
 * Random accesses of every width. Every value read must be an unsigned number of the access's width; every so often
 * the device is saved, restored through JSON, and saved again, and must say the same.
 */
export function exerciseRegisters(
  random: SeededRandom,
  device: RegisterBlock & Stateful,
  sizeBytes: number,
  accesses: number,
  between: () => void = () => {},
): void {
  for (let i = 0; i < accesses; i++) {
    const size = random.pick([1, 2, 4]);
    const offset = random.below(sizeBytes);
    const where = `access ${i} (offset ${offset}, size ${size}), seed ${random.seed}`;
    if (random.below(2) === 0) {
      const value = device.read(offset, size);
      if (!(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size)))
        throw new Error(`${where}: read ${value}`);
    } else {
      const value = random.below(4) === 0 ? random.u32() : random.below(256);
      device.write(offset, size, size === 4 ? value : value % 2 ** (8 * size));
    }
    if (random.below(64) === 0) {
      const saved = throughJson(device.save());
      if (random.below(2) === 0) device.reset();
      device.restore(saved);
      const again = throughJson(device.save());
      if (JSON.stringify(saved) !== JSON.stringify(again)) {
        throw new Error(`${where}: saved ${JSON.stringify(saved)}, restored to ${JSON.stringify(again)}`);
      }
    }
    between();
  }
}
