/** A queue whose driver offers the same chains again and again, at next to no cost. */
import { MiB } from "../../src/base/addresses.ts";
import { GuestMemory } from "../../src/vmm/memory/guest-memory.ts";
import type { VirtioHost } from "../../src/vmm/virtio/device.ts";
import { VirtQueue } from "../../src/vmm/virtio/queue.ts";
import { type TestBuffer, TestQueue } from "../../src/vmm/virtio/testing/driver.ts";

const SIZE = 256;
/** Requests put into the ring before the device looks: what a busy guest does. */
export const BATCH = 64;

export interface OfferedQueue {
  readonly memory: GuestMemory;
  readonly queue: VirtQueue;
  /** What the driver does: BATCH ring entries, index, used_event. Its time is measured and taken off. */
  readonly offer: () => void;
}

/** `chain` makes the i-th chain. */
export function offeredQueue(indirect: boolean, chain: (i: number) => readonly TestBuffer[]): OfferedQueue {
  const memory = GuestMemory.forTest(16 * MiB);
  const layout = { size: SIZE, descriptorTable: MiB, availableRing: MiB + 0x1000, usedRing: MiB + 0x2000 };
  const queue = new VirtQueue(0, SIZE, memory, () => {}, broken);
  const problem = queue.start(layout, { eventIndex: true, indirect: true });
  if (problem !== null) throw new Error(problem);
  const driver = new TestQueue(
    memory,
    SIZE,
    layout.descriptorTable,
    layout.availableRing,
    layout.usedRing,
    { start: 2 * MiB, end: 8 * MiB },
    () => {},
  );
  const heads = Array.from({ length: BATCH }, (_, i) => driver.submit(chain(i), indirect));
  const words = memory.words[0] as Uint16Array;
  let available = BATCH;
  const offer = () => {
    const base = layout.availableRing >>> 1;
    for (let i = 0; i < BATCH; i++) words[base + 2 + ((available + i) & (SIZE - 1))] = heads[i] as number;
    words[base + 2 + SIZE] = available;
    available = (available + BATCH) & 0xffff;
    words[base + 1] = available;
  };
  return { memory, queue, offer };
}

function broken(reason: string): never {
  throw new Error(reason);
}

/** A transport that does nothing and refuses to fail quietly. */
export const quietHost: VirtioHost = {
  configChanged: () => {},
  needsReset: broken,
  defer: () => {},
  handOver: () => null,
  takeBack: () => {},
};
