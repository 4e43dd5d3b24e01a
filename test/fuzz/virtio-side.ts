/** What the fuzzer knows of one virtio device. */
import type { SeededRandom } from "../../src/base/random.ts";
import type { VirtioDevice } from "../../src/vmm/virtio/device.ts";
import type { TestDriver, TestQueue } from "../../src/vmm/virtio/testing/driver.ts";

/** Where chains have their buffers. */
export const BUFFERS = 0x3_0000;

/** A device, what may happen on its other side, and a proof that it works. */
export interface Side {
  readonly device: VirtioDevice;
  outside(random: SeededRandom): void;
  quiet(): void;
  works(driver: TestDriver): void;
}

export const queueOf = (driver: TestDriver, index: number): TestQueue => driver.queues[index] as TestQueue;
