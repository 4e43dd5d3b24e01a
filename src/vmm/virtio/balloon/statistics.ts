/** The guest's memory statistics as its balloon driver told them last: virtio 1.2, 5.5.6.3. */
import type { DeviceState, SegmentList } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { gather } from "../segments.ts";
import { BalloonStat, STATISTICS, STATISTICS_PER_BUFFER } from "./bits.ts";
import type { GuestMemoryStatistics } from "./status.ts";

/** Drivers say "not known" by all ones, or by leaving a value out. */
const UNKNOWN = -1;
const STATE_VERSION = 1;

export class BalloonStatistics {
  readonly #values = new Array<number>(STATISTICS.length).fill(UNKNOWN);
  readonly #bytes = new Uint8Array(STATISTICS_PER_BUFFER * BalloonStat.size);
  /** When they arrived; null: never. */
  #atMs: number | null = null;

  constructor(private readonly memory: GuestMemory) {}

  /** Takes what a buffer holds, from a driver that may write anything. */
  read(list: SegmentList, nowMs: number): void {
    const length = gather(this.memory, list, 0, this.#bytes);
    // A buffer without a whole value is one that waits to be filled.
    if (length < BalloonStat.size) return;
    this.#values.fill(UNKNOWN);
    for (let at = 0; at + BalloonStat.size <= length; at += BalloonStat.size) {
      const { tag, val } = BalloonStat.decode(this.#bytes, at);
      if (tag < STATISTICS.length && val <= Number.MAX_SAFE_INTEGER) this.#values[tag] = val;
    }
    this.#atMs = nowMs;
  }

  /** Null when the driver has told nothing. */
  view(nowMs: number): GuestMemoryStatistics | null {
    if (this.#atMs === null) return null;
    const known: { [name: string]: number } = {};
    STATISTICS.forEach((name, tag) => {
      const value = this.#values[tag] as number;
      if (value !== UNKNOWN) known[name] = value;
    });
    return { ...known, ageMs: Math.round(nowMs - this.#atMs) };
  }

  clear(): void {
    this.#values.fill(UNKNOWN);
    this.#atMs = null;
  }

  save(nowMs: number): DeviceState {
    const ageMs = this.#atMs === null ? UNKNOWN : nowMs - this.#atMs;
    return { version: STATE_VERSION, ageMs, values: [...this.#values] };
  }

  restore(state: DeviceState, nowMs: number): void {
    const from = new StateReader("balloon statistics", state, STATE_VERSION);
    const ageMs = from.finite("ageMs");
    const values = from.integers("values", UNKNOWN, Number.MAX_SAFE_INTEGER, STATISTICS.length);
    this.#values.fill(UNKNOWN);
    values.forEach((value, tag) => {
      this.#values[tag] = value;
    });
    this.#atMs = ageMs < 0 ? null : nowMs - ageMs;
  }
}
