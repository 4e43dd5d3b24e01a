/**
 * The receive side of virtio-net in user space.
 *
 * How long the next frame is, the tap only says when it is read. So chains are taken ahead and their buffers kept in one
 * segment list; the frame is read into its front, the chains it filled are returned, the others stay for the next frame. A
 * chain is walked once, whatever happens. Merged buffers are small, and the longest frame takes dozens: so many are taken
 * ahead only while long frames come. The first long one goes through the backend's overflow and is copied.
 */
import type { NetBackend, SegmentList } from "../../contract.ts";
import { createSegmentList, type GuestMemory } from "../../memory/guest-memory.ts";
import type { VirtQueue } from "../queue.ts";
import { dropFront, scatter } from "../segments.ts";
import { NetHeader } from "./bits.ts";

/** Header and the longest frame of each kind: an Ethernet frame with VLAN tag, or one that the guest segments itself. */
const FRAME_BYTES_MAX = NetHeader.size + 1518;
const GSO_FRAME_BYTES_MAX = NetHeader.size + 65550;
/** Buffers in one read: what the kernel takes (IOV_MAX). */
const SEGMENTS_MAX = 1024;
const NUM_BUFFERS_SIZE = 2;
/** So many frames of the wire's size in a row, and long ones are no longer expected. */
const SHORT_FRAMES = 32;

/** Why `receive` stopped. */
export type ReceiveEnd = "no_frames" | "no_buffers" | "budget" | "failed";

export class Receiver {
  private readonly heads: Uint16Array;
  private readonly sizes: Uint32Array;
  private first = 0;
  private held = 0;
  private heldBytes = 0;
  private readonly mask: number;
  private readonly list: SegmentList = createSegmentList(SEGMENTS_MAX);
  private readonly numBuffers = new Uint8Array(NUM_BUFFERS_SIZE);
  private mergeable = false;
  private frameBytes = FRAME_BYTES_MAX;
  /** The most chains the driver has had on offer at once: what it can be expected to offer again. */
  private offered = 0;
  /** Long frames are expected until so many short ones have come. */
  private expectLong = 0;

  constructor(
    private readonly memory: GuestMemory,
    private readonly backend: NetBackend,
    queueSizeMax: number,
  ) {
    this.heads = new Uint16Array(queueSizeMax);
    this.sizes = new Uint32Array(queueSizeMax);
    this.mask = queueSizeMax - 1;
  }

  /** A new driver: `mergeable` is VIRTIO_NET_F_MRG_RXBUF, `segments` whether the guest takes frames longer than the wire's. */
  configure(mergeable: boolean, segments: boolean): void {
    this.forget();
    this.offered = this.expectLong = 0;
    this.mergeable = mergeable;
    this.frameBytes = segments ? GSO_FRAME_BYTES_MAX : FRAME_BYTES_MAX;
  }

  /** Drops the chains taken ahead, without telling the driver. */
  forget(): void {
    this.first = this.held = this.heldBytes = this.list.count = 0;
  }

  /** Puts the chains taken ahead back into the queue. */
  giveBack(queue: VirtQueue): void {
    queue.unpop(this.held);
    this.forget();
  }

  /** Moves at most `budget` frames into the queue. The caller flushes. */
  receive(queue: VirtQueue, budget: number): ReceiveEnd {
    const { backend, list } = this;
    this.offered = Math.max(this.offered, this.held + queue.waiting);
    for (let frames = 0; frames < budget; frames++) {
      if (!this.fill(queue)) return queue.running ? "no_buffers" : "failed";
      const headerAddress = list.address[0] as number;
      const headerLength = list.length[0] as number;
      const room = this.heldBytes;
      const received = backend.receive(list);
      if (received === 0) return "no_frames";
      if (received < NetHeader.size) return "failed";
      if (received > FRAME_BYTES_MAX) this.expectLong = SHORT_FRAMES;
      else if (this.expectLong > 0) this.expectLong--;
      // What the driver has no buffers for is lost, as on a wire.
      if (received > room && !this.takeOverflow(queue, room, received)) continue;
      const count = this.chainsFor(received);
      const numBuffers = this.numBuffers;
      numBuffers[0] = count;
      numBuffers[1] = count >> 8;
      if (headerLength >= NetHeader.size) {
        this.memory.write(headerAddress + NetHeader.offset.num_buffers, numBuffers);
      } else {
        // The driver split the header over buffers.
        scatter(this.memory, list, NetHeader.offset.num_buffers, numBuffers);
      }
      this.consume(queue, received, count);
    }
    return "budget";
  }

  /** Takes chains until the longest frame that is expected fits. False when the driver has to offer more first. */
  private fill(queue: VirtQueue): boolean {
    const enough = !this.mergeable ? 1 : this.expectLong > 0 ? this.frameBytes : FRAME_BYTES_MAX;
    while (this.heldBytes < enough) {
      const taken = this.takeChain(queue);
      if (taken > 0) continue;
      // A driver with few buffers may never offer enough for the longest frame: then all of them have to do.
      return queue.running && this.held > 0 && (taken < 0 || this.held >= this.offered);
    }
    return true;
  }

  /** Takes one more chain: 1; 0 when there is none or the queue has failed, -1 when the list has no room for it. */
  private takeChain(queue: VirtQueue): number {
    const { list, mask } = this;
    const head = queue.pop();
    if (head < 0) return 0;
    const chain = queue.writable;
    const count = chain.count;
    if (queue.writableBytes < NetHeader.size || queue.readableBytes !== 0) {
      queue.fail("a receive buffer that the header does not fit");
      return 0;
    }
    if (list.count + count > SEGMENTS_MAX) {
      queue.unpop(1);
      return -1;
    }
    const at = list.count;
    for (let i = 0; i < count; i++) {
      list.address[at + i] = chain.address[i] as number;
      list.length[at + i] = chain.length[i] as number;
    }
    list.count = at + count;
    const slot = (this.first + this.held) & mask;
    this.heads[slot] = head;
    this.sizes[slot] = queue.writableBytes;
    this.held++;
    this.heldBytes += queue.writableBytes;
    return 1;
  }

  /** Takes buffers for what did not fit into `room` bytes. False when there are too few. */
  private takeOverflow(queue: VirtQueue, room: number, received: number): boolean {
    while (this.mergeable && this.heldBytes < received && this.takeChain(queue) > 0);
    if (this.heldBytes < received) return false;
    scatter(this.memory, this.list, room, this.backend.overflow.subarray(0, received - room));
    return true;
  }

  /** How many of the chains held a frame of that size fills. */
  private chainsFor(size: number): number {
    let left = size;
    let count = 0;
    while (left > 0 && count < this.held) left -= this.sizes[(this.first + count++) & this.mask] as number;
    return count;
  }

  private consume(queue: VirtQueue, size: number, count: number): void {
    let left = size;
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const slot = this.first;
      const room = this.sizes[slot] as number;
      const used = Math.min(left, room);
      queue.push(this.heads[slot] as number, used);
      left -= used;
      bytes += room;
      this.first = (slot + 1) & this.mask;
    }
    this.held -= count;
    this.heldBytes -= bytes;
    dropFront(this.list, bytes);
  }
}
