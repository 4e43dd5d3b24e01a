/** What a frame costs on the user-space path of virtio-net: a backend that takes and gives frames without moving any. */
import type { NetBackend } from "../../src/vmm/contract.ts";
import { featureBit } from "../../src/vmm/virtio/bits.ts";
import type { Features } from "../../src/vmm/virtio/device.ts";
import { NetFeature, NetHeader, NetQueue } from "../../src/vmm/virtio/net/bits.ts";
import { VirtioNet } from "../../src/vmm/virtio/net/device.ts";
import { nsPerUnit, report } from "./measure.ts";
import { BATCH, offeredQueue, quietHost } from "./offers.ts";

const FRAME_BYTES = 1514;
const RECEIVE_BUFFER_BYTES = 1536;
const MAC = Uint8Array.of(0x52, 0x54, 0, 0xbe, 0x5c, 1);

/** Frames that wait at the backend. */
let waiting = 0;

const nullBackend: NetBackend = {
  fd: -1,
  send: () => 0,
  overflow: new Uint8Array(0),
  receive: () => (waiting-- > 0 ? NetHeader.size + FRAME_BYTES : 0),
  onReadable: () => {},
  setOffload: () => {},
  hasUdpSegmentation: false,
  setAttached: () => {},
  close: () => {},
};

/** As Linux does with merged receive buffers, without segmentation offload: one frame is one buffer. */
const driver: Features = { low: featureBit(NetFeature.MRG_RXBUF), high: 0 };

function transmit(): number {
  const { memory, queue, offer } = offeredQueue(false, () => [
    new Uint8Array(NetHeader.size),
    new Uint8Array(FRAME_BYTES),
  ]);
  const device = new VirtioNet({ name: "bench", memory, pairs: [{ backend: nullBackend }], mac: MAC });
  device.connect(quietHost);
  device.activate([null, queue, null], driver);
  const loop = nsPerUnit(BATCH, () => {
    offer();
    device.handleQueue(NetQueue.transmit);
  });
  return loop - nsPerUnit(BATCH, offer);
}

function receive(): number {
  const { memory, queue, offer } = offeredQueue(false, () => [RECEIVE_BUFFER_BYTES]);
  const device = new VirtioNet({ name: "bench", memory, pairs: [{ backend: nullBackend }], mac: MAC });
  device.connect(quietHost);
  device.activate([queue, null, null], driver);
  const loop = nsPerUnit(BATCH, () => {
    offer();
    waiting = BATCH;
    device.handleQueue(NetQueue.receive);
  });
  return loop - nsPerUnit(BATCH, offer);
}

/** Frames of an Ethernet wire's full length, both ways. */
export function measurePackets(): void {
  report("net-transmit", transmit());
  report("net-receive", receive());
}
