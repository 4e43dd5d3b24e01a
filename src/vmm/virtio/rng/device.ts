/** virtio-rng, the entropy device: virtio 1.2, 5.4. Every buffer the driver offers is filled with random bytes. */
import type { DeviceState, EntropySource } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { Features, VirtioDevice, VirtioHost } from "../device.ts";
import { NO_FEATURES } from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { walk } from "../segments.ts";
import { CHAINS_PER_CALL, QUEUE_SIZE, REQUEST_BYTES_MAX, RNG_CLASS_CODE, RNG_DEVICE_TYPE } from "./bits.ts";

export interface RngOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  readonly source: EntropySource;
}

export class VirtioRng implements VirtioDevice {
  readonly name: string;
  readonly deviceType = RNG_DEVICE_TYPE;
  readonly classCode = RNG_CLASS_CODE;
  readonly features = NO_FEATURES;
  readonly queueSizes = [QUEUE_SIZE];
  readonly configSize = 0;
  readonly busy = false;
  readonly #options: RngOptions;
  #host: VirtioHost | null = null;
  #queue: VirtQueue | null = null;

  constructor(options: RngOptions) {
    this.name = options.name;
    this.#options = options;
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  configRead(): number {
    return 0;
  }

  configWrite(): void {}

  activate(queues: readonly (VirtQueue | null)[], _driverFeatures: Features): void {
    this.#queue = queues[0] ?? null;
  }

  handleQueue(_index: number): void {
    const queue = this.#queue;
    if (queue === null) return;
    const { memory, source } = this.#options;
    let budget = CHAINS_PER_CALL;
    do {
      queue.suppressNotifications();
      for (let head = queue.pop(); head >= 0; head = queue.pop()) {
        const written = walk(memory, queue.writable, 0, REQUEST_BYTES_MAX, (bytes) => source(bytes));
        queue.push(head, written);
        if (--budget === 0) {
          queue.flush();
          this.#host?.defer(0);
          return;
        }
      }
      queue.flush();
    } while (queue.resumeNotifications());
  }

  reset(): void {
    this.#queue = null;
  }

  save(): DeviceState {
    return { version: 1 };
  }

  restore(_state: DeviceState): void {}
}
