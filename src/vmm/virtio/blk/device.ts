/**
 * virtio-blk: virtio 1.2, 5.2.
 *
 * A chain is a 16-byte header, data, and a status byte at the very end of what the device may write. The data goes to
 * the backend as it is, a list of guest memory segments; the backend may complete at once or later, in any order. A
 * request in flight is a slot from a pool, with its completion callback made once, so that a request allocates nothing.
 *
 * A reset does not wait: slots in flight become stale and only return to the pool when the backend is done with them.
 * Until then the device is busy and the transport does not report the reset as done.
 */
import { GiB } from "../../../base/addresses.ts";
import { ThimbleError } from "../../../base/errors.ts";
import type { BlockBackend, DeviceState, SegmentList } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
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
import { dropFront, gather, putByte, readRegister, scatter } from "../segments.ts";
import {
  BLK_ID_BYTES,
  BLK_RANGE_UNMAP,
  BlkConfig,
  BlkFeature,
  BlkRange,
  BlkRequestHeader,
  BlkRequestType,
  BlkStatus,
  SECTOR_SIZE,
} from "./bits.ts";

const QUEUE_SIZE = 256;
/** Data segments of a request: a chain of the queue's size less header and status. */
const SEG_MAX = QUEUE_SIZE - 2;
/** Longest segment a driver should use, chosen so that SEG_MAX of them stay below REQUEST_BYTES_MAX. */
const SIZE_MAX = 128 * 1024;
/** Longest transfer; no driver that keeps to SEG_MAX and SIZE_MAX reaches it, and one call to the kernel moves it. */
const REQUEST_BYTES_MAX = 32 * 1024 * 1024;
/** Ranges of one discard or write-zeroes request: each is a call to the backend. */
const RANGES_MAX = 16;
/** Longest range: 2 GiB. */
const RANGE_SECTORS_MAX = 1 << 22;
/** Discards that are not aligned to 4 KiB free nothing on ordinary filesystems. */
const DISCARD_ALIGNMENT_SECTORS = 8;
/** 4 KiB physical blocks. */
const PHYSICAL_BLOCK_EXPONENT = 3;
/** Slots kept for requests that outlive a reset of a driver that did not wait for it. */
const SLOTS_MAX = 2 * QUEUE_SIZE;
/** Chains served in one call, so that a driver that keeps adding cannot hold the main thread. */
const CHAINS_PER_CALL = 2 * QUEUE_SIZE;
const EOPNOTSUPP = 95;
/** Instead of a status: the backend has the request. */
const PENDING = -1;
const STATE_VERSION = 1;
const HEADER_SIZE = BlkRequestHeader.size;
const HIGH_DWORD = 0x1_0000_0000;

export interface BlkOptions {
  /** For logs, e.g. "virtio-blk 0". */
  readonly name: string;
  readonly memory: GuestMemory;
  readonly backend: BlockBackend;
  /** What the guest reads as serial number: ASCII, at most 20 bytes. */
  readonly serial?: string;
}

/** A request at the backend. */
class Slot {
  head = 0;
  statusAddress = 0;
  /** Bytes the used ring reports: data read and the status byte. */
  written = 0;
  /** Calls to the backend that have not completed; the first error of them. */
  outstanding = 0;
  error = 0;
  isWrite = false;
  /** The driver it belongs to. */
  epoch = 0;
  readonly done: (result: number) => void;

  constructor(device: VirtioBlk) {
    this.done = (result) => device.completed(this, result);
  }
}

export class VirtioBlk implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.block;
  /** Mass storage, SCSI: what drivers expect of virtio-blk. */
  readonly classCode = 0x01_00_00;
  readonly features: Features;
  readonly queueSizes = [QUEUE_SIZE];
  readonly configSize = BlkConfig.size;

  private readonly memory: GuestMemory;
  private readonly backend: BlockBackend;
  private readonly config: Uint8Array<ArrayBuffer>;
  private readonly id = new Uint8Array(BLK_ID_BYTES);
  private readonly header = new Uint8Array(HEADER_SIZE);
  private readonly headerDwords = new Uint32Array(this.header.buffer);
  private readonly free: Slot[] = [];
  private freeCount = 0;
  private slotCount = 0;
  private inFlight = 0;
  private epoch = 0;
  private host: VirtioHost | null = null;
  private queue: VirtQueue | null = null;
  private driver: Features = NO_FEATURES;
  private capacitySectors: number;
  private writeThrough = true;
  /** While `handleQueue` runs it publishes once at its end; completions that come later publish themselves. */
  private batching = false;
  /** No slot was left: the next completion looks at the queue again. */
  private starved = false;

  constructor(options: BlkOptions) {
    const { backend } = options;
    this.name = options.name;
    this.memory = options.memory;
    this.backend = backend;
    this.capacitySectors = Math.floor(backend.sizeBytes / SECTOR_SIZE);
    const changing = [BlkFeature.DISCARD, BlkFeature.WRITE_ZEROES];
    this.features = features(
      BlkFeature.SIZE_MAX,
      BlkFeature.SEG_MAX,
      BlkFeature.BLK_SIZE,
      BlkFeature.TOPOLOGY,
      BlkFeature.FLUSH,
      BlkFeature.CONFIG_WCE,
      ...(backend.readOnly ? [BlkFeature.RO] : changing),
    );
    this.config = BlkConfig.encode({
      capacity: this.capacitySectors,
      size_max: SIZE_MAX,
      seg_max: SEG_MAX,
      blk_size: SECTOR_SIZE,
      physical_block_exp: PHYSICAL_BLOCK_EXPONENT,
      min_io_size: 1 << PHYSICAL_BLOCK_EXPONENT,
      writeback: 1,
      num_queues: 1,
      max_discard_sectors: RANGE_SECTORS_MAX,
      max_discard_seg: RANGES_MAX,
      discard_sector_alignment: DISCARD_ALIGNMENT_SECTORS,
      max_write_zeroes_sectors: RANGE_SECTORS_MAX,
      max_write_zeroes_seg: RANGES_MAX,
      write_zeroes_may_unmap: 1,
    });
    const serial = options.serial ?? "";
    for (let i = 0; i < BLK_ID_BYTES; i++) this.id[i] = i < serial.length ? serial.charCodeAt(i) & 0x7f : 0;
  }

  get busy(): boolean {
    return this.inFlight > 0;
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
    this.queue = queues[0] ?? null;
    this.driver = driverFeatures;
    this.chooseCacheMode();
  }

  reset(): void {
    this.queue = null;
    this.driver = NO_FEATURES;
    this.starved = false;
    this.epoch++;
    this.config[BlkConfig.offset.writeback] = 1;
  }

  save(): DeviceState {
    return { version: STATE_VERSION, writeback: this.config[BlkConfig.offset.writeback] };
  }

  restore(state: DeviceState): void {
    const { writeback } = state;
    if (state.version !== STATE_VERSION || (writeback !== 0 && writeback !== 1)) {
      throw new ThimbleError("bad_state", `${this.name}: the saved state has another form`);
    }
    this.config[BlkConfig.offset.writeback] = writeback;
    this.chooseCacheMode();
  }

  handleQueue(_index: number): void {
    const queue = this.queue;
    if (queue === null || this.batching) return;
    this.batching = true;
    let budget = CHAINS_PER_CALL;
    do {
      queue.suppressNotifications();
      for (;;) {
        const slot = this.freeCount > 0 ? (this.free[--this.freeCount] as Slot) : this.newSlot();
        if (slot === null) {
          // The completion that frees a slot continues here; until then the driver need not ring.
          this.starved = true;
          budget = 0;
          break;
        }
        const head = queue.pop();
        if (head < 0) {
          this.free[this.freeCount++] = slot;
          break;
        }
        const status = this.request(queue, head, slot);
        if (status !== PENDING) this.finish(slot, status);
        if (--budget === 0) {
          this.host?.defer(0);
          break;
        }
      }
      queue.flush();
    } while (budget > 0 && queue.resumeNotifications());
    this.batching = false;
  }

  /** A call to the backend for this slot is done. Public for the slot's callback only. */
  completed(slot: Slot, result: number): void {
    if (result < 0 && slot.error === 0) slot.error = result;
    if (--slot.outstanding > 0) return;
    const stale = slot.epoch !== this.epoch;
    if (slot.isWrite && !stale && this.writeThrough && slot.error === 0) {
      slot.isWrite = false;
      slot.outstanding = 1;
      this.backend.flush(slot.done);
      return;
    }
    this.inFlight--;
    if (stale) this.free[this.freeCount++] = slot;
    else
      this.finish(
        slot,
        slot.error === 0 ? BlkStatus.OK : slot.error === -EOPNOTSUPP ? BlkStatus.UNSUPP : BlkStatus.IOERR,
      );
    if (this.starved) {
      this.starved = false;
      this.handleQueue(0);
    }
  }

  /** Writes the status, returns chain and slot. */
  private finish(slot: Slot, status: number): void {
    const queue = this.queue as VirtQueue;
    putByte(this.memory, slot.statusAddress, status);
    queue.push(slot.head, slot.written);
    this.free[this.freeCount++] = slot;
    if (!this.batching) queue.flush();
  }

  private newSlot(): Slot | null {
    if (this.slotCount >= SLOTS_MAX) return null;
    this.slotCount++;
    return new Slot(this);
  }

  /** Starts the request whose chain the queue has just given; returns its status when that is known at once. */
  private request(queue: VirtQueue, head: number, slot: Slot): number {
    const readable = queue.readable;
    const writable = queue.writable;
    const last = writable.count - 1;
    if (last < 0 || queue.readableBytes < HEADER_SIZE) {
      queue.fail("a block request without header or status");
      this.free[this.freeCount++] = slot;
      return PENDING;
    }
    // The status byte is the last one that the device may write; what is before it is data.
    const lastLength = (writable.length[last] as number) - 1;
    slot.head = head;
    slot.statusAddress = (writable.address[last] as number) + lastLength;
    slot.written = 1;
    if (lastLength === 0) writable.count = last;
    else writable.length[last] = lastLength;

    let dwords = this.headerDwords;
    let at = 0;
    const address = readable.address[0] as number;
    if (address < GiB - HEADER_SIZE && (address & 3) === 0 && (readable.length[0] as number) >= HEADER_SIZE) {
      dwords = this.memory.dwords[0] as Uint32Array<ArrayBuffer>;
      at = address >>> 2;
    } else {
      gather(this.memory, readable, 0, this.header);
    }
    const type = dwords[at] as number;
    const sector = (dwords[at + 2] as number) + (dwords[at + 3] as number) * HIGH_DWORD;

    if (type === BlkRequestType.IN) {
      const size = queue.writableBytes - 1;
      if (!this.fits(sector, size)) return BlkStatus.IOERR;
      slot.written = size + 1;
      this.begin(slot, false);
      this.backend.read(sector * SECTOR_SIZE, writable, slot.done);
      return PENDING;
    }
    if (type === BlkRequestType.OUT) {
      const size = queue.readableBytes - HEADER_SIZE;
      if (this.backend.readOnly || !this.fits(sector, size)) return BlkStatus.IOERR;
      dropFront(readable, HEADER_SIZE);
      this.begin(slot, true);
      this.backend.write(sector * SECTOR_SIZE, readable, slot.done);
      return PENDING;
    }
    return this.otherRequest(type, readable, queue.readableBytes - HEADER_SIZE, writable, slot);
  }

  private otherRequest(
    type: number,
    readable: SegmentList,
    size: number,
    writable: SegmentList,
    slot: Slot,
  ): number {
    switch (type) {
      case BlkRequestType.FLUSH:
        this.begin(slot, false);
        this.backend.flush(slot.done);
        return PENDING;
      case BlkRequestType.GET_ID:
        slot.written = scatter(this.memory, writable, 0, this.id) + 1;
        return BlkStatus.OK;
      case BlkRequestType.DISCARD:
      case BlkRequestType.WRITE_ZEROES:
        return this.ranges(type === BlkRequestType.DISCARD, readable, size, slot);
      default:
        return BlkStatus.UNSUPP;
    }
  }

  /** DISCARD and WRITE_ZEROES: all ranges are checked before the first is carried out. */
  private ranges(discard: boolean, readable: SegmentList, size: number, slot: Slot): number {
    const count = size / BlkRange.size;
    if (this.backend.readOnly || !Number.isInteger(count) || count < 1 || count > RANGES_MAX) {
      return this.backend.readOnly ? BlkStatus.IOERR : BlkStatus.UNSUPP;
    }
    const bytes = new Uint8Array(size);
    gather(this.memory, readable, HEADER_SIZE, bytes);
    const ranges = Array.from({ length: count }, (_, i) => BlkRange.decode(bytes, i * BlkRange.size));
    for (const range of ranges) {
      // Only write-zeroes has a flag (5.2.6.2).
      if ((range.flags & ~(discard ? 0 : BLK_RANGE_UNMAP)) !== 0) return BlkStatus.UNSUPP;
      const inside = range.sector + range.num_sectors <= this.capacitySectors;
      if (!inside || range.num_sectors > RANGE_SECTORS_MAX) return BlkStatus.IOERR;
    }
    this.begin(slot, true);
    slot.outstanding = count;
    for (const { sector, num_sectors, flags } of ranges) {
      const offset = sector * SECTOR_SIZE;
      const length = num_sectors * SECTOR_SIZE;
      if (length === 0) slot.done(0);
      else if (discard) this.backend.discard(offset, length, slot.done);
      else this.backend.writeZeroes(offset, length, (flags & BLK_RANGE_UNMAP) !== 0, slot.done);
    }
    return PENDING;
  }

  private begin(slot: Slot, isWrite: boolean): void {
    slot.outstanding = 1;
    slot.error = 0;
    slot.isWrite = isWrite;
    slot.epoch = this.epoch;
    this.inFlight++;
  }

  /** Whether a transfer is whole sectors inside the disk. */
  private fits(sector: number, size: number): boolean {
    return (
      (size & (SECTOR_SIZE - 1)) === 0 &&
      size > 0 &&
      size <= REQUEST_BYTES_MAX &&
      sector * SECTOR_SIZE + size <= this.capacitySectors * SECTOR_SIZE
    );
  }

  /** Without a volatile cache in the driver's eyes, a write is complete when it is stable (5.2.5, 5.2.6.2). */
  private chooseCacheMode(): void {
    const configurable = hasFeature(this.driver, BlkFeature.CONFIG_WCE);
    const writeBack = this.config[BlkConfig.offset.writeback] === 1;
    this.writeThrough = configurable ? !writeBack : !hasFeature(this.driver, BlkFeature.FLUSH);
  }
}
