/**
 * virtio-blk: virtio 1.2, 5.2.
 *
 * A chain is a 16-byte header, data, and a status byte at the very end of what the device may write. The data goes to
 * the backend as it is, a list of guest memory segments; the backend may complete at once or later, in any order. A
 * request in flight is a slot from a pool, with its completion callback made once, so that a request allocates nothing.
 * What a call of `handleQueue` finds is handed to the backend together, and what completes later is published together.
 *
 * An error may stall the device instead of reaching the guest: the request stays in flight until `retry` reads its chain
 * once more, and no other is begun meanwhile.
 *
 * A reset does not wait: slots in flight become stale and are dropped when the backend is done with them. Until then
 * the device is busy and the transport does not report the reset as done.
 */
import type { BlockBackend, DeviceState, SegmentList } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { DeviceType } from "../bits.ts";
import {
  type Features,
  features,
  hasFeature,
  NO_FEATURES,
  type VirtioDevice,
  type VirtioHost,
} from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { dropFront, gather, readRegister, scatter } from "../segments.ts";
import { BLK_ID_BYTES, BLK_RANGE_UNMAP, BlkConfig, BlkFeature, BlkRequestType, BlkStatus } from "./bits.ts";
import { blkConfig, QUEUE_SIZE } from "./config.ts";
import { type BlkRangeValue, RANGE_BYTES_MAX, rangesOf } from "./ranges.ts";
import { type RequestQueue, Slot } from "./slot.ts";

/** Longest transfer; no driver that keeps to SEG_MAX and SIZE_MAX reaches it, and one call to the kernel moves it. */
const REQUEST_BYTES_MAX = 32 * 1024 * 1024;
/** Slots kept for requests that outlive a reset of a driver that did not wait for it. */
const SLOTS_MAX = 2 * QUEUE_SIZE;
/** Chains served in one call, so that a driver that keeps adding cannot hold the main thread. */
const CHAINS_PER_CALL = 2 * QUEUE_SIZE;
const EOPNOTSUPP = 95;
const STATE_VERSION = 1;
// Literals, because the bundler then puts them into the code; device.test.ts compares them with bits.ts.
const HEADER_SIZE = 16;
const SECTOR_SIZE = 512;
const SECTOR_SHIFT = 9;
const STATUS_OK = 0;
/** The types below and including this one are IN and OUT. */
const TYPE_OUT = 1;
const HIGH_DWORD = 0x1_0000_0000;
/** Of guest memory (memory/guest-memory.ts). */
const WINDOW_SIZE = 0x4000_0000;

/** For the test that compares the literals with bits.ts. */
export const LITERALS = { HEADER_SIZE, SECTOR_SIZE, STATUS_OK, TYPE_OUT, WINDOW_SIZE };

export interface BlkOptions {
  /** For logs, e.g. "virtio-blk 0". */
  readonly name: string;
  readonly memory: GuestMemory;
  readonly backend: BlockBackend;
  /** What the guest reads as serial number: ASCII, at most 20 bytes. */
  readonly serial?: string;
  /** Request queues; default 1. */
  readonly queues?: number;
  /**
   * Asked about each error of the backend but "not supported": whether the request waits for `retry` instead of telling
   * the guest. `isFlush`: it was to bring data to stable storage.
   */
  readonly onError?: (errno: number, isFlush: boolean) => boolean;
}

export class VirtioBlk implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.block;
  /** Mass storage, SCSI: what drivers expect of virtio-blk. */
  readonly classCode = 0x01_00_00;
  readonly features: Features;
  readonly queueSizes: readonly number[];
  readonly configSize = BlkConfig.size;

  private readonly memory: GuestMemory;
  private readonly backend: BlockBackend;
  private readonly config: Uint8Array<ArrayBuffer>;
  private readonly id = new Uint8Array(BLK_ID_BYTES);
  private readonly header = new Uint8Array(HEADER_SIZE);
  private readonly headerDwords = new Uint32Array(this.header.buffer);
  private readonly windows: readonly (Uint8Array | undefined)[];
  private readonly windowDwords: readonly (Uint32Array | undefined)[];
  private readonly readOnly: boolean;
  private free: Slot[] = [];
  private freeCount = 0;
  /** All slots there are, stale ones included: those that are not free are in flight. */
  private slotCount = 0;
  private epoch = 0;
  private host: VirtioHost | null = null;
  private readonly requestQueues: readonly RequestQueue[];
  /** Requests that failed and wait for `retry`. */
  private stalled: Slot[] = [];
  /** Requests that have been tried again and are not answered. */
  private retrying = 0;
  /** A queue is starved. */
  private starving = false;
  private readonly onError: NonNullable<BlkOptions["onError"]>;
  private readonly blockMask: number;
  private driver: Features = NO_FEATURES;
  private readonly capacitySectors: number;
  private writeThrough = true;

  constructor(options: BlkOptions) {
    const { backend } = options;
    this.name = options.name;
    this.memory = options.memory;
    this.windows = options.memory.bytes;
    this.windowDwords = options.memory.dwords;
    this.backend = backend;
    this.readOnly = backend.readOnly;
    this.onError = options.onError ?? (() => false);
    this.queueSizes = new Array(options.queues ?? 1).fill(QUEUE_SIZE);
    this.requestQueues = this.queueSizes.map((_, index) => ({
      index,
      queue: null,
      batching: false,
      starved: false,
    }));
    const blockSize = backend.blockSizeBytes ?? SECTOR_SIZE;
    this.blockMask = blockSize - 1;
    this.capacitySectors = Math.floor(backend.sizeBytes / blockSize) * (blockSize / SECTOR_SIZE);
    const changing = [BlkFeature.DISCARD, BlkFeature.WRITE_ZEROES];
    this.features = features(
      BlkFeature.SIZE_MAX,
      BlkFeature.SEG_MAX,
      BlkFeature.BLK_SIZE,
      BlkFeature.TOPOLOGY,
      BlkFeature.FLUSH,
      BlkFeature.CONFIG_WCE,
      BlkFeature.MQ,
      ...(backend.readOnly ? [BlkFeature.RO] : changing),
    );
    this.config = blkConfig(this.capacitySectors, blockSize, this.queueSizes.length);
    const serial = options.serial ?? "";
    for (let i = 0; i < BLK_ID_BYTES; i++) this.id[i] = i < serial.length ? serial.charCodeAt(i) & 0x7f : 0;
  }

  get busy(): boolean {
    return this.slotCount > this.freeCount;
  }

  connect(host: VirtioHost): void {
    this.host = host;
  }

  configRead(offset: number, size: number): number {
    return readRegister(this.config, offset, size);
  }

  configWrite(offset: number, _size: number, value: number): void {
    if (offset !== BlkConfig.offset.writeback || !hasFeature(this.driver, BlkFeature.CONFIG_WCE)) return;
    this.config[offset] = value & 1;
    this.chooseCacheMode();
  }

  activate(queues: readonly (VirtQueue | null)[], driverFeatures: Features): void {
    for (const one of this.requestQueues) one.queue = queues[one.index] ?? null;
    this.driver = driverFeatures;
    this.chooseCacheMode();
  }

  reset(): void {
    for (const one of this.requestQueues) {
      one.queue = null;
      one.starved = false;
    }
    this.driver = NO_FEATURES;
    this.epoch++;
    this.slotCount -= this.freeCount + this.stalled.length;
    this.stalled = [];
    this.retrying = 0;
    this.freeCount = 0;
    this.free = [];
    this.config[BlkConfig.offset.writeback] = 1;
  }

  save(): DeviceState {
    return { version: STATE_VERSION, writeback: this.config[BlkConfig.offset.writeback] };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(this.name, state, STATE_VERSION);
    this.config[BlkConfig.offset.writeback] = from.integer("writeback", 0, 1);
    this.chooseCacheMode();
  }

  handleQueue(index: number): void {
    const one = this.requestQueues[index] as RequestQueue;
    const queue = one.queue;
    if (queue === null || one.batching) return;
    one.batching = true;
    let budget = this.stalled.length === 0 ? CHAINS_PER_CALL : 0;
    do {
      queue.suppressNotifications();
      while (budget > 0) {
        if (this.freeCount === 0 && !this.addSlot()) {
          // The completion that frees a slot continues here; until then the driver need not ring.
          one.starved = this.starving = true;
          budget = 0;
          break;
        }
        const head = queue.pop();
        if (head < 0) break;
        this.request(one, queue, head);
        if (--budget === 0) this.host?.defer(index);
      }
      this.backend.submit();
      queue.flush();
    } while (budget > 0 && queue.resumeNotifications());
    one.batching = false;
  }

  /** Whether requests failed and wait, or are being tried again. */
  get isStalled(): boolean {
    return this.stalled.length + this.retrying > 0;
  }

  /** Tries again what has stalled. */
  retry(): void {
    const stalled = this.stalled;
    this.stalled = [];
    for (const slot of stalled) {
      const { queue } = slot.home;
      const head = slot.head;
      slot.special = slot.isRetry = true;
      this.retrying++;
      this.free[this.freeCount++] = slot;
      // The chain is read anew, and checked again: the guest may have changed it.
      if (queue?.again(head)) this.request(slot.home, queue, head);
      if (this.free[this.freeCount - 1] === slot) this.tried(slot);
    }
    this.backend.submit();
    for (const { index } of this.requestQueues) this.host?.defer(index);
  }

  /** A call to the backend for a slot is done. */
  private readonly onCompleted = (slot: Slot, result: number): void => {
    if (slot.special || result < 0 || slot.epoch !== this.epoch) {
      this.completedSpecial(slot, result);
      return;
    }
    // `finish`, written out: a call costs as much as what it does.
    const address = slot.statusAddress;
    if (address < WINDOW_SIZE) (this.windows[0] as Uint8Array)[address] = STATUS_OK;
    else this.setStatus(address, STATUS_OK);
    const home = slot.home;
    (home.queue as VirtQueue).push(slot.head, slot.written);
    this.free[this.freeCount++] = slot;
    if (!home.batching) this.host?.defer(home.index);
    if (this.starving) this.feed();
  };

  private completedSpecial(slot: Slot, result: number): void {
    if (result < 0 && slot.error === 0) slot.error = result;
    if (--slot.outstanding > 0) return;
    if (slot.epoch !== this.epoch) {
      this.slotCount--;
      this.feed();
      return;
    }
    const error = slot.error;
    slot.outstanding = 1;
    if (slot.flushAfter && error === 0) {
      slot.flushAfter = false;
      slot.isFlush = true;
      this.backend.flush(slot.done);
      this.backend.submit();
      return;
    }
    const isFlush = slot.isFlush;
    slot.flushAfter = slot.isFlush = false;
    this.tried(slot);
    slot.error = 0;
    if (error !== 0 && error !== -EOPNOTSUPP && this.onError(-error, isFlush)) {
      this.stalled.push(slot);
      return;
    }
    this.finish(slot, error === 0 ? STATUS_OK : error === -EOPNOTSUPP ? BlkStatus.UNSUPP : BlkStatus.IOERR);
    if (this.starving) this.feed();
  }

  /** Writes the status, returns chain and slot. */
  private finish(slot: Slot, status: number): void {
    this.setStatus(slot.statusAddress, status);
    const home = slot.home;
    (home.queue as VirtQueue).push(slot.head, slot.written);
    this.free[this.freeCount++] = slot;
    if (!home.batching) this.host?.defer(home.index);
  }

  /** The index is made an integer: a floating-point one the engine takes for a property's name at first. */
  private setStatus(address: number, status: number): void {
    const window = (address / WINDOW_SIZE) | 0;
    (this.windows[window] as Uint8Array)[(address - window * WINDOW_SIZE) | 0] = status;
  }

  /** Goes on with the queues for which there was no slot. */
  private feed(): void {
    this.starving = false;
    for (const one of this.requestQueues) {
      if (!one.starved) continue;
      one.starved = false;
      this.host?.defer(one.index);
    }
  }

  private tried(slot: Slot): void {
    if (slot.isRetry) this.retrying--;
    slot.special = slot.isRetry = false;
  }

  private addSlot(): boolean {
    if (this.slotCount >= SLOTS_MAX) return false;
    this.slotCount++;
    this.free[this.freeCount++] = new Slot(
      this.onCompleted,
      this.epoch,
      this.requestQueues[0] as RequestQueue,
    );
    return true;
  }

  /** Starts the request whose chain the queue has just given, in a free slot. */
  private request(home: RequestQueue, queue: VirtQueue, head: number): void {
    const readable = queue.readable;
    const writable = queue.writable;
    const last = writable.count - 1;
    if (last < 0 || queue.readableBytes < HEADER_SIZE) {
      queue.fail("a block request without header or status");
      return;
    }
    const slot = this.free[--this.freeCount] as Slot;
    // The status byte is the last one that the device may write; what is before it is data.
    const lastLength = (writable.length[last] as number) - 1;
    slot.home = home;
    slot.head = head;
    slot.statusAddress = queue.lastWritable + lastLength;
    if (lastLength === 0) writable.count = last;
    else writable.length[last] = lastLength;

    let offset = queue.firstReadable;
    let dwords = this.windowDwords[0] as Uint32Array;
    if (offset >= WINDOW_SIZE) {
      const window = (offset / WINDOW_SIZE) | 0;
      offset = (offset - window * WINDOW_SIZE) | 0;
      dwords = this.windowDwords[window] as Uint32Array;
    }
    let at = offset >>> 2;
    if (
      offset > WINDOW_SIZE - HEADER_SIZE ||
      (offset & 3) !== 0 ||
      (readable.length[0] as number) < HEADER_SIZE
    ) {
      gather(this.memory, readable, 0, this.header);
      dwords = this.headerDwords;
      at = 0;
    }
    const type = dwords[at] as number;
    if (type > TYPE_OUT) {
      this.otherRequest(type, readable, queue.readableBytes - HEADER_SIZE, writable, slot);
      return;
    }
    const high = dwords[at + 3] as number;
    const sector = (dwords[at + 2] as number) + (high === 0 ? 0 : high * HIGH_DWORD);
    const isWrite = type === TYPE_OUT;
    const size = isWrite ? queue.readableBytes - HEADER_SIZE : queue.writableBytes - 1;
    if (
      (size & this.blockMask) !== 0 ||
      size === 0 ||
      size > REQUEST_BYTES_MAX ||
      sector + (size >>> SECTOR_SHIFT) > this.capacitySectors
    ) {
      slot.written = 1;
      this.finish(slot, BlkStatus.IOERR);
    } else if (!isWrite) {
      slot.written = size + 1;
      this.backend.read(sector * SECTOR_SIZE, writable, slot.done);
    } else {
      slot.written = 1;
      if (this.readOnly) return void this.finish(slot, BlkStatus.IOERR);
      if (this.writeThrough) slot.special = slot.flushAfter = true;
      if (readable.count === 2 && readable.length[0] === HEADER_SIZE) {
        // `dropFront`, written out for the usual case: the data are one buffer.
        readable.address[0] = readable.address[1] as number;
        readable.length[0] = readable.length[1] as number;
        readable.count = 1;
      } else dropFront(readable, HEADER_SIZE);
      this.backend.write(sector * SECTOR_SIZE, readable, slot.done);
    }
  }

  private otherRequest(
    type: number,
    readable: SegmentList,
    size: number,
    writable: SegmentList,
    slot: Slot,
  ): void {
    slot.written = 1;
    switch (type) {
      case BlkRequestType.FLUSH:
        slot.isFlush = slot.special = true;
        this.backend.flush(slot.done);
        break;
      case BlkRequestType.GET_ID:
        slot.written = scatter(this.memory, writable, 0, this.id) + 1;
        this.finish(slot, BlkStatus.OK);
        break;
      case BlkRequestType.DISCARD:
      case BlkRequestType.WRITE_ZEROES: {
        const discard = type === BlkRequestType.DISCARD;
        const bytes = new Uint8Array(Math.min(size, RANGE_BYTES_MAX + 1));
        gather(this.memory, readable, HEADER_SIZE, bytes);
        const ranges = this.readOnly ? BlkStatus.IOERR : rangesOf(discard, bytes, this.capacitySectors);
        if (typeof ranges === "number") this.finish(slot, ranges);
        else this.changeRanges(discard, ranges, slot);
        break;
      }
      default:
        this.finish(slot, BlkStatus.UNSUPP);
    }
  }

  private changeRanges(discard: boolean, ranges: readonly BlkRangeValue[], slot: Slot): void {
    slot.special = true;
    slot.flushAfter = this.writeThrough;
    slot.outstanding = ranges.length;
    for (const { sector, num_sectors, flags } of ranges) {
      const offset = sector * SECTOR_SIZE;
      const length = num_sectors * SECTOR_SIZE;
      if (length === 0) slot.done(0);
      else if (discard) this.backend.discard(offset, length, slot.done);
      else this.backend.writeZeroes(offset, length, (flags & BLK_RANGE_UNMAP) !== 0, slot.done);
    }
  }

  /** Without a volatile cache in the driver's eyes, a write is complete when it is stable (5.2.5, 5.2.6.2). */
  private chooseCacheMode(): void {
    const configurable = hasFeature(this.driver, BlkFeature.CONFIG_WCE);
    const writeBack = this.config[BlkConfig.offset.writeback] === 1;
    this.writeThrough = configurable ? !writeBack : !hasFeature(this.driver, BlkFeature.FLUSH);
  }
}
