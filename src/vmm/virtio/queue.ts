/**
 * A split virtqueue as the device sees it: virtio 1.2, 2.7.
 *
 *     while ((head = queue.pop()) >= 0) {   // the chain is in queue.readable and queue.writable
 *       queue.push(head, bytesWritten);
 *     }
 *     queue.flush();                         // publishes, interrupts when the driver wants it
 *
 * `pop` and `push` run once per request on an interpreter: they read typed arrays of the windows the rings lie in and
 * allocate nothing. A ring that crosses a window is worked on in a copy that is refreshed before each `pop` and
 * written through after each change (slow, but guests hardly ever do it).
 *
 * Nothing the guest writes is trusted or read twice. A broken rule stops the queue: `pop` gives nothing any more, the
 * transport is told the reason.
 */

import { GiB, type GuestPhysical, guestPhysical } from "../../base/addresses.ts";
import type { DeviceState, SegmentList } from "../contract.ts";
import { createSegmentList, type GuestMemory } from "../memory/guest-memory.ts";
import { StateReader } from "../state.ts";
import { AVAILABLE_NO_INTERRUPT, USED_NO_NOTIFY, UsedElement, UsedHeader } from "./bits.ts";
import { openRings, type QueueLayout, type QueueOptions } from "./queue-layout.ts";
import { NO_AREA, type RingArea, readArea, writeArea } from "./ring-area.ts";

/** What `pop` returns when there is no chain to be had. */
export const QUEUE_EMPTY = -1;

// Literals, because the bundler then puts them into the code; queue.test.ts compares them with bits.ts.
const FLAG_NEXT = 1;
const FLAG_WRITE = 2;
const FLAG_INDIRECT = 4;
const DESCRIPTOR_SHIFT = 4;
const DESCRIPTOR_SIZE = 16;
/** In words from the start of an available or used ring. */
const INDEX_WORD = 1;
const RING_WORDS = 2;
/** In dwords from the start of a used ring. */
const USED_RING_DWORDS = 1;
const HIGH_DWORD = 0x1_0000_0000;
const WINDOW_SIZE = 0x4000_0000;
/** The length of a chain is a 32-bit number in the used ring. */
const CHAIN_BYTES_MAX = 0xffff_ffff;

/** For the test that compares the literals with bits.ts. */
export const LITERALS = {
  FLAG_NEXT,
  FLAG_WRITE,
  FLAG_INDIRECT,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_SHIFT,
  INDEX_WORD,
  RING_WORDS,
  USED_RING_DWORDS,
  WINDOW_SIZE,
};
const STATE_VERSION = 1;

export class VirtQueue {
  /** The chain `pop` returned last, valid until the next `pop`. Addresses lie in RAM, lengths are not zero. */
  readonly readable: SegmentList;
  readonly writable: SegmentList;
  readableBytes = 0;
  writableBytes = 0;
  /** The chain's first readable and last writable address, small ones as integers (slow to get of a Float64Array). */
  firstReadable = 0;
  lastWritable = 0;
  /** Size in use; 0 while the queue is not running. */
  size = 0;

  // Plain fields: the interpreter reads them faster than #private ones.
  private readonly capacity: number;
  private readonly readAddress: Float64Array;
  private readonly readLength: Uint32Array;
  private readonly writeAddress: Float64Array;
  private readonly writeLength: Uint32Array;
  private readonly windows: readonly (Uint32Array<ArrayBuffer> | undefined)[];
  /** RAM is [0, lowRamEnd) and [highRamStart, highRamEnd). */
  private readonly lowRamEnd: number;
  private readonly highRamStart: number;
  private readonly highRamEnd: number;
  private mask = 0;
  private eventIndex = false;
  private indirect = false;
  private stopped = true;
  private copied = false;
  private descriptors: RingArea;
  private available: RingArea;
  private used: RingArea;
  private descDwords: Uint32Array<ArrayBuffer>;
  private descBase = 0;
  private availWords: Uint16Array<ArrayBuffer>;
  private availBase = 0;
  private usedDwords: Uint32Array<ArrayBuffer>;
  private usedBase = 0;
  /** Next entry of the available ring to look at; next of the used ring to fill; used index last interrupted for. */
  private nextAvailable = 0;
  private nextUsed = 0;
  private publishedUsed = 0;
  private layout: QueueLayout | null = null;
  private indirectCopy: Uint32Array<ArrayBuffer> | null = null;

  /**
   * `onInterrupt` delivers a used-buffer notification; `onFailure` is told the rule that was broken, once.
   * Chains have at most `maxSize` buffers.
   */
  constructor(
    readonly index: number,
    readonly maxSize: number,
    private readonly memory: GuestMemory,
    private readonly onInterrupt: (index: number) => void,
    private readonly onFailure: (reason: string) => void,
  ) {
    this.capacity = maxSize;
    this.readable = createSegmentList(maxSize);
    this.writable = createSegmentList(maxSize);
    this.readAddress = this.readable.address;
    this.readLength = this.readable.length;
    this.writeAddress = this.writable.address;
    this.writeLength = this.writable.length;
    this.windows = memory.dwords;
    const [low, high] = memory.regions;
    this.lowRamEnd = low?.sizeBytes ?? 0;
    this.highRamStart = high?.start ?? 0;
    this.highRamEnd = high === undefined ? 0 : high.start + high.sizeBytes;
    this.descriptors = this.available = this.used = NO_AREA;
    this.descDwords = this.usedDwords = NO_AREA.dwords;
    this.availWords = NO_AREA.words;
  }

  /** Starts the queue with empty rings. Returns null, or why the rings cannot be used (the queue stays stopped). */
  start(layout: QueueLayout, options: QueueOptions): string | null {
    this.stop();
    const rings = openRings(this.memory, layout, this.maxSize);
    if (typeof rings === "string") return rings;
    const { size } = layout;
    const { descriptors, available, used } = rings;
    this.layout = layout;
    this.descriptors = descriptors;
    this.available = available;
    this.used = used;
    this.descDwords = descriptors.dwords;
    this.descBase = descriptors.dwordBase;
    this.availWords = available.words;
    this.availBase = available.wordBase;
    this.usedDwords = used.dwords;
    this.usedBase = used.dwordBase;
    this.copied = descriptors.copy !== null || available.copy !== null || used.copy !== null;
    this.size = size;
    this.mask = size - 1;
    this.eventIndex = options.eventIndex;
    this.indirect = options.indirect;
    this.stopped = false;
    return null;
  }

  /** Stops the queue; `pop` gives nothing, `push` and `flush` do nothing. */
  stop(): void {
    this.stopped = true;
    this.size = 0;
    this.layout = null;
    this.descriptors = this.available = this.used = NO_AREA;
    this.descDwords = this.usedDwords = NO_AREA.dwords;
    this.availWords = NO_AREA.words;
    this.copied = false;
    this.indirectCopy = null;
    this.nextAvailable = this.nextUsed = this.publishedUsed = 0;
  }

  get running(): boolean {
    return !this.stopped;
  }

  /** Takes the next available chain and returns its head, or QUEUE_EMPTY. */
  pop(): number {
    if (this.stopped) return QUEUE_EMPTY;
    if (this.copied) this.refresh();
    const avail = this.availWords;
    const availBase = this.availBase;
    const next = this.nextAvailable;
    const waiting = ((avail[availBase + INDEX_WORD] as number) - next) & 0xffff;
    if (waiting === 0) return QUEUE_EMPTY;
    let limit = this.size;
    if (waiting > limit) return this.fail("an available index further ahead than the ring is long");
    const head = avail[availBase + RING_WORDS + (next & this.mask)] as number;
    const readAddress = this.readAddress;
    const readLength = this.readLength;
    const writeAddress = this.writeAddress;
    const writeLength = this.writeLength;
    const lowRamEnd = this.lowRamEnd;
    let table = this.descDwords;
    let base = this.descBase;
    let inIndirect = false;
    // Buffers are counted down, which also ends a chain that loops.
    let room = this.capacity;
    let reads = 0;
    let writes = 0;
    let readBytes = 0;
    let writeBytes = 0;
    let first = 0;
    let index = head;
    let address = 0;
    for (;;) {
      if (index >= limit) return this.fail("a descriptor index outside its table");
      const at = base + (index << 2);
      const word = table[at + 3] as number;
      const length = table[at + 2] as number;
      address = table[at] as number;
      if (table[at + 1] !== 0) address += (table[at + 1] as number) * HIGH_DWORD;
      if (word & FLAG_INDIRECT) {
        if (inIndirect) return this.fail("nested indirect descriptors");
        inIndirect = true;
        limit = length >>> DESCRIPTOR_SHIFT;
        // Written out for the table that lies well, which is nearly always; 2.7.5.3 asks for no alignment.
        const window = address < WINDOW_SIZE ? 0 : (address / WINDOW_SIZE) | 0;
        const offset = window === 0 ? address : (address - window * WINDOW_SIZE) | 0;
        if (
          this.indirect &&
          (word & FLAG_NEXT) === 0 &&
          address + length <= lowRamEnd &&
          offset + length <= WINDOW_SIZE &&
          ((offset & 3) | (length & (DESCRIPTOR_SIZE - 1))) === 0 &&
          limit <= this.capacity
        ) {
          table = this.windows[window] as Uint32Array<ArrayBuffer>;
          base = offset >>> 2;
        } else {
          if (!this.openIndirect(address, length, word)) return QUEUE_EMPTY;
          table = this.indirectTable;
          base = this.indirectBase;
        }
        index = 0;
        continue;
      }
      const end = address + length;
      if (end > lowRamEnd && (address < this.highRamStart || end > this.highRamEnd)) {
        return this.fail("a buffer outside RAM");
      }
      if (length === 0) return this.fail("an empty buffer");
      if (word & FLAG_WRITE) {
        writeAddress[writes] = address;
        writeLength[writes++] = length;
        writeBytes += length;
      } else {
        if (writes !== 0) return this.fail("a device-readable buffer after a device-writable one");
        if (reads === 0) first = address;
        readAddress[reads] = address;
        readLength[reads++] = length;
        readBytes += length;
      }
      if ((word & FLAG_NEXT) === 0) break;
      if (--room === 0) return this.fail("a chain of more buffers than the queue allows, or one that loops");
      index = word >>> 16;
    }
    const bytes = readBytes + writeBytes;
    if ((bytes | 0) !== bytes && bytes > CHAIN_BYTES_MAX) return this.fail("a chain of 4 GiB or more");
    this.firstReadable = first;
    this.lastWritable = address;
    this.readable.count = reads;
    this.writable.count = writes;
    this.readableBytes = readBytes;
    this.writableBytes = writeBytes;
    this.nextAvailable = (next + 1) & 0xffff;
    return head;
  }

  /** Reads a chain once more that `pop` gave and `push` has not returned. False when it breaks a rule by now. */
  again(head: number): boolean {
    const { availWords, availBase, nextAvailable } = this;
    // `pop` from a ring of one entry.
    this.availWords = Uint16Array.of(0, 1, head);
    this.availBase = this.nextAvailable = 0;
    if (this.pop() !== head) return false; // stopped, and without any position
    this.availWords = availWords;
    this.availBase = availBase;
    this.nextAvailable = nextAvailable;
    return true;
  }

  /** Gives back the chains of the last `count` pops: the next `pop` returns them again. */
  unpop(count: number): void {
    if (!this.stopped) this.nextAvailable = (this.nextAvailable - count) & 0xffff;
  }

  /** Returns a chain to the driver with the number of bytes written to it; seen by the driver after `flush`. */
  push(head: number, writtenBytes: number): void {
    if (this.stopped) return;
    const next = this.nextUsed;
    const at = this.usedBase + USED_RING_DWORDS + ((next & this.mask) << 1);
    const used = this.usedDwords;
    used[at] = head;
    used[at + 1] = writtenBytes;
    this.nextUsed = (next + 1) & 0xffff;
    if (this.copied)
      writeArea(
        this.memory,
        this.used,
        UsedHeader.size + (next & this.mask) * UsedElement.size,
        UsedElement.size,
      );
  }

  /** Publishes what was pushed and interrupts the driver when it asked for that (2.7.7, 2.7.10). */
  flush(): void {
    const next = this.nextUsed;
    const before = this.publishedUsed;
    if (next === before || this.stopped) return;
    this.publishedUsed = next;
    this.storeUsedWord(INDEX_WORD, next);
    if (this.copied) this.refresh();
    const avail = this.availWords;
    const base = this.availBase;
    if (this.eventIndex) {
      const event = avail[base + RING_WORDS + this.size] as number;
      if (((next - event - 1) & 0xffff) >= ((next - before) & 0xffff)) return;
    } else if (((avail[base] as number) & AVAILABLE_NO_INTERRUPT) !== 0) {
      return;
    }
    this.onInterrupt(this.index);
  }

  /** Asks the driver not to ring while the device is looking anyway. */
  suppressNotifications(): void {
    // With event indices the event stays where it is, behind: the driver does not reach it again.
    if (!this.stopped && !this.eventIndex) this.storeUsedWord(0, USED_NO_NOTIFY);
  }

  /**
   * Asks the driver to ring for the next chain. True when one has arrived meanwhile: then the driver may not ring
   * for it and the caller looks again.
   */
  resumeNotifications(): boolean {
    if (this.stopped) return false;
    if (this.eventIndex) this.storeUsedWord(RING_WORDS + (this.size << 2), this.nextAvailable);
    else this.storeUsedWord(0, 0);
    if (this.copied) this.refresh();
    return this.availWords[this.availBase + INDEX_WORD] !== this.nextAvailable;
  }

  /** Stops the queue because the driver broke a rule that only the device knows. */
  fail(reason: string): typeof QUEUE_EMPTY {
    if (!this.stopped) {
      this.stopped = true;
      this.onFailure(`queue ${this.index}: the driver gave ${reason}`);
    }
    return QUEUE_EMPTY;
  }

  /** How many chains the driver offers beyond those popped; 0 for a stopped queue, at most its size. */
  get waiting(): number {
    if (this.stopped) return 0;
    if (this.copied) this.refresh();
    const waiting = ((this.availWords[this.availBase + INDEX_WORD] as number) - this.nextAvailable) & 0xffff;
    return Math.min(waiting, this.size);
  }

  /** Where the next chain is taken from; a kernel backend starts there. */
  get position(): number {
    return this.nextAvailable;
  }

  /** After a kernel backend: everything before `nextAvailable` has been used in order of the used ring. */
  resumeFrom(nextAvailable: number): void {
    if (this.stopped) return;
    readArea(this.memory, this.used);
    this.nextAvailable = nextAvailable & 0xffff;
    this.nextUsed = this.publishedUsed = this.used.words[this.used.wordBase + INDEX_WORD] as number;
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      nextAvailable: this.nextAvailable,
      nextUsed: this.nextUsed,
      publishedUsed: this.publishedUsed,
    };
  }

  /** After `start` with the saved layout. */
  restore(state: DeviceState): void {
    const from = new StateReader(`virtqueue ${this.index}`, state, STATE_VERSION);
    this.nextAvailable = from.u16("nextAvailable");
    this.nextUsed = from.u16("nextUsed");
    this.publishedUsed = from.u16("publishedUsed");
  }

  // The indirect table `openIndirect` found last.
  private indirectTable: Uint32Array<ArrayBuffer> = NO_AREA.dwords;
  private indirectBase = 0;

  /** Checks an indirect descriptor (2.7.5.3) and sets indirectTable; false on failure. */
  private openIndirect(address: number, length: number, word: number): boolean {
    const problem = this.indirectProblem(address, length, word);
    if (problem !== null) {
      this.fail(problem);
      return false;
    }
    const offset = address % GiB;
    const dwords = this.windows[Math.floor(address / GiB)];
    if (dwords !== undefined && (offset & 3) === 0 && offset + length <= dwords.length * 4) {
      this.indirectTable = dwords;
      this.indirectBase = offset >>> 2;
      return true;
    }
    // Misaligned, or across windows.
    this.indirectCopy ??= new Uint32Array(this.capacity * (DESCRIPTOR_SIZE / 4));
    const bytes = new Uint8Array(this.indirectCopy.buffer);
    this.memory.split(address, length, (piece, done) => bytes.set(piece, done));
    this.indirectTable = this.indirectCopy;
    this.indirectBase = 0;
    return true;
  }

  private indirectProblem(address: number, length: number, word: number): string | null {
    if (!this.indirect) return "an indirect descriptor without having negotiated it";
    if (word & FLAG_NEXT) return "an indirect descriptor that has a next one";
    if (length === 0 || length % DESCRIPTOR_SIZE !== 0) return "an indirect table of an odd size";
    if (length / DESCRIPTOR_SIZE > this.capacity) return "an indirect table larger than the queue allows";
    return this.memory.contains(address, length) ? null : "an indirect table outside RAM";
  }

  /** Writes a word of the used ring so that it is visible before anything is read after it (2.7.10.1, 2.7.7.1). */
  private storeUsedWord(word: number, value: number): void {
    const used = this.used;
    Atomics.store(used.words, used.wordBase + word, value);
    if (used.copy !== null) writeArea(this.memory, used, word * 2, 2);
  }

  /** Brings the copies of what the driver writes up to date. */
  private refresh(): void {
    readArea(this.memory, this.descriptors);
    readArea(this.memory, this.available);
  }

  /** Ring addresses for a kernel backend; null while stopped. */
  get rings(): {
    size: number;
    descriptorTable: GuestPhysical;
    availableRing: GuestPhysical;
    usedRing: GuestPhysical;
  } | null {
    const layout = this.layout;
    if (layout === null || this.stopped) return null;
    return {
      size: layout.size,
      descriptorTable: guestPhysical(layout.descriptorTable),
      availableRing: guestPhysical(layout.availableRing),
      usedRing: guestPhysical(layout.usedRing),
    };
  }
}
