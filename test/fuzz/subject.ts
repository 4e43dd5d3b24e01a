/** What the fuzzer knows of a device: where its registers are, what else may happen to it, and what must hold. */
import type { SeededRandom } from "../../src/base/random.ts";
import type { DeviceState } from "../../src/vmm/contract.ts";
import { ManualClock } from "../../src/vmm/devices/test-support.ts";
import { GuestMemory } from "../../src/vmm/memory/guest-memory.ts";

export const MEMORY_BYTES = 4 * 1024 ** 2;
export const DISK_BYTES = 1024 ** 2;

/** Registers that are accessed at every offset and width. */
export interface Space {
  readonly name: string;
  readonly sizeBytes: number;
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

/** Where a virtqueue is; what a driver knows of it beyond that is in guest memory. */
export interface Ring {
  readonly size: number;
  readonly descriptorTable: number;
  readonly availableRing: number;
  readonly usedRing: number;
}

/** What is outside a device and stays when the device moves to another machine. */
export class World {
  readonly memory = GuestMemory.forTest(MEMORY_BYTES);
  readonly disk = new Uint8Array(DISK_BYTES);
  /** The queues that a driver has set up last. */
  rings: readonly Ring[] = [];
  clock = new ManualClock();
  /** How often something was reached that only a longer story reaches. */
  readonly reached: Record<string, number> = {};

  count(what: string, times = 1): void {
    this.reached[what] = (this.reached[what] ?? 0) + times;
  }

  /** A clock that says the same and knows nothing of the timers of a device that has been left behind. */
  renewClock(): void {
    const old = this.clock;
    this.clock = new ManualClock();
    this.clock.nowMs = old.nowMs;
    this.clock.wallOffsetMs = old.wallOffsetMs;
  }

  /** The same once more, for a copy of the device. */
  clone(): World {
    const copy = new World();
    copy.memory.bytes.forEach((window, i) => {
      window?.set(this.memory.bytes[i] as Uint8Array);
    });
    copy.disk.set(this.disk);
    copy.rings = this.rings;
    copy.clock = this.clock;
    copy.renewClock();
    return copy;
  }
}

/** One device in a machine without CPUs. */
export interface Subject {
  readonly spaces: readonly Space[];
  /** What may happen besides a register access; each draws what it needs from its own random numbers. */
  readonly actions: Readonly<Record<string, (random: SeededRandom) => void>>;
  /** Lets the outside finish what it holds, so that the device can be saved. */
  quiet?(): void;
  reset(): void;
  save(): DeviceState;
  restore(state: DeviceState): void;
  /** Throws unless the device, freshly reset, serves an honest driver. */
  works?(): void;
}

/** An entry of the table of devices. */
export interface SubjectKind {
  /** Source files, below src/vmm, of the Stateful classes and devices this covers. */
  readonly covers: readonly string[];
  /** Of 100 steps, how many are actions rather than register accesses. */
  readonly actionShare: number;
  /** What `World.reached` must name after a few thousand steps: proof that the steps go deep. */
  readonly mustReach: readonly string[];
  build(world: World): Subject;
}
