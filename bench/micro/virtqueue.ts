/**
 * What the virtqueue and virtio-blk cost per request: 4 KiB requests of three descriptors against a backend that
 * completes at once and moves nothing.
 */
import { GiB } from "../../src/base/addresses.ts";
import type { BlockBackend } from "../../src/vmm/contract.ts";
import { BlkRequestHeader, BlkRequestType } from "../../src/vmm/virtio/blk/bits.ts";
import { VirtioBlk } from "../../src/vmm/virtio/blk/device.ts";
import { NO_FEATURES } from "../../src/vmm/virtio/device.ts";
import type { TestBuffer } from "../../src/vmm/virtio/testing/driver.ts";
import { nsPerUnit, report } from "./measure.ts";
import { BATCH, offeredQueue, quietHost } from "./offers.ts";

/** VIRTIO_BLK_F_FLUSH, so that writes need no flush of their own. */
const FEATURE_FLUSH_BIT = 1 << 9;

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

function requests(type: number): (i: number) => TestBuffer[] {
  return (i) => {
    const data = type === BlkRequestType.IN ? 4096 : new Uint8Array(4096);
    return [BlkRequestHeader.encode({ type, sector: i * 8 }), data, 1];
  };
}

function walkOnly(indirect: boolean): number {
  const { queue, offer } = offeredQueue(indirect, requests(BlkRequestType.IN));
  const loop = nsPerUnit(BATCH, () => {
    offer();
    for (let head = queue.pop(); head >= 0; head = queue.pop()) queue.push(head, 1);
    queue.flush();
    queue.resumeNotifications();
  });
  return loop - nsPerUnit(BATCH, offer);
}

function block(indirect: boolean, type: number): number {
  const { memory, queue, offer } = offeredQueue(indirect, requests(type));
  const device = new VirtioBlk({ name: "bench", memory, backend: nullBackend });
  device.connect(quietHost);
  device.activate([queue], { ...NO_FEATURES, low: FEATURE_FLUSH_BIT });
  const loop = nsPerUnit(BATCH, () => {
    offer();
    device.handleQueue(0);
  });
  return loop - nsPerUnit(BATCH, offer);
}

/** Virtqueue and block device, through direct and indirect descriptors. */
export function measureBlock(): void {
  for (const indirect of [false, true]) {
    const kind = indirect ? "indirect" : "direct";
    report(`queue-${kind}`, walkOnly(indirect));
    report(`blk-read-${kind}`, block(indirect, BlkRequestType.IN));
    report(`blk-write-${kind}`, block(indirect, BlkRequestType.OUT));
  }
}
