/**
 * What the virtqueue and virtio-blk cost per request: 4 KiB requests of three descriptors against a backend that
 * completes at once and moves nothing. Runs on Node and, bundled, on the image's runtime:
 *
 *   node --import tsx bench/micro/virtqueue.ts
 *   node --import tsx src/image/runtime/main.ts --entry bench=bench/micro/virtqueue.ts --out /tmp/bench && /tmp/bench/thimble bench
 */
import { GiB, MiB } from "../../src/base/addresses.ts";
import { monotonicMs } from "../../src/sys/clock.ts";
import { SYS } from "../../src/sys/syscall-numbers.ts";
import { hasBridge, utf8Encode } from "../../src/sys/text.ts";
import type { BlockBackend } from "../../src/vmm/contract.ts";
import { GuestMemory } from "../../src/vmm/memory/guest-memory.ts";
import { BlkRequestHeader, BlkRequestType } from "../../src/vmm/virtio/blk/bits.ts";
import { VirtioBlk } from "../../src/vmm/virtio/blk/device.ts";
import { NO_FEATURES } from "../../src/vmm/virtio/device.ts";
import { VirtQueue } from "../../src/vmm/virtio/queue.ts";
import { TestQueue } from "../../src/vmm/virtio/testing/driver.ts";

const SIZE = 256;
/** Requests put into the ring before the device looks: what a busy guest does. */
const BATCH = 64;
const ROUNDS = 8;
const SAMPLES = 150;

const now = hasBridge ? monotonicMs : () => performance.now();

function print(line: string): void {
  if (hasBridge) {
    const bytes = utf8Encode(`${line}\n`);
    bridge.syscall(SYS.write, 1, bytes, bytes.length);
  } else console.log(line);
}

const nullBackend: BlockBackend = {
  sizeBytes: GiB,
  readOnly: false,
  read: (_offset, _segments, done) => done(0),
  write: (_offset, _segments, done) => done(0),
  flush: (done) => done(0),
  discard: (_offset, _length, done) => done(0),
  writeZeroes: (_offset, _length, _mayUnmap, done) => done(0),
  submit: () => {},
  close: () => {},
};

/** A queue whose descriptors hold BATCH chains that are offered again and again. */
function prepare(indirect: boolean, type: number) {
  const memory = GuestMemory.forTest(16 * MiB);
  const layout = { size: SIZE, descriptorTable: MiB, availableRing: MiB + 0x1000, usedRing: MiB + 0x2000 };
  let interrupts = 0;
  const queue = new VirtQueue(
    0,
    SIZE,
    memory,
    () => interrupts++,
    (reason) => {
      throw new Error(reason);
    },
  );
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
  const heads: number[] = [];
  for (let i = 0; i < BATCH; i++) {
    const header = BlkRequestHeader.encode({ type, sector: i * 8 });
    const data = type === BlkRequestType.IN ? 4096 : new Uint8Array(4096);
    heads.push(driver.submit([header, data, 1], indirect));
  }
  const words = memory.words[0] as Uint16Array;
  let available = BATCH;
  /** What the driver does: ring entries, index, used_event. Cheap, and its time is measured and taken off. */
  const offer = () => {
    const base = layout.availableRing >>> 1;
    for (let i = 0; i < BATCH; i++) words[base + 2 + ((available + i) & (SIZE - 1))] = heads[i] as number;
    words[base + 2 + SIZE] = available;
    available = (available + BATCH) & 0xffff;
    words[base + 1] = available;
  };
  return { memory, queue, offer };
}

function nsPerRequest(work: () => void): number {
  for (let i = 0; i < 5 * ROUNDS; i++) work();
  let best = Number.POSITIVE_INFINITY;
  // Short samples, the best of many: other work on the machine disturbs some, not all.
  for (let sample = 0; sample < SAMPLES; sample++) {
    const start = now();
    for (let i = 0; i < ROUNDS; i++) work();
    best = Math.min(best, now() - start);
  }
  return (best * 1e6) / (ROUNDS * BATCH);
}

function walkOnly(indirect: boolean): number {
  const { queue, offer } = prepare(indirect, BlkRequestType.IN);
  const loop = nsPerRequest(() => {
    offer();
    for (let head = queue.pop(); head >= 0; head = queue.pop()) queue.push(head, 1);
    queue.flush();
    queue.resumeNotifications();
  });
  return loop - nsPerRequest(offer);
}

function block(indirect: boolean, type: number): number {
  const { memory, queue, offer } = prepare(indirect, type);
  const device = new VirtioBlk({ name: "bench", memory, backend: nullBackend });
  device.connect({
    configChanged: () => {},
    needsReset: (reason) => {
      throw new Error(reason);
    },
    defer: () => {},
    handOver: () => null,
    takeBack: () => {},
  });
  // Feature FLUSH, so that writes need none.
  device.activate([queue], { ...NO_FEATURES, low: 1 << 9 });
  const loop = nsPerRequest(() => {
    offer();
    device.handleQueue(0);
  });
  return loop - nsPerRequest(offer);
}

for (const indirect of [false, true]) {
  const kind = indirect ? "indirect" : "direct";
  print(`virtqueue pop+push, 3 descriptors, ${kind}: ${walkOnly(indirect).toFixed(0)} ns`);
  print(`virtio-blk read 4 KiB, ${kind}: ${block(indirect, BlkRequestType.IN).toFixed(0)} ns`);
  print(`virtio-blk write 4 KiB, ${kind}: ${block(indirect, BlkRequestType.OUT).toFixed(0)} ns`);
}
