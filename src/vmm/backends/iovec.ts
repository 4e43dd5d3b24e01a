/** Lists of memory ranges for readv(2) and the like, made from guest memory segments. */
import type { SegmentList } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

/** More ranges in one call the kernel refuses (UIO_MAXIOV). */
export const IOV_MAX = 1024;
/** struct iovec as 32-bit words: address low and high, length low and high. */
const WORDS = 4;

/** An array of struct iovec that is filled anew for each call. Lengths are below 4 GiB each. */
export class IovecArray {
  /** What the system call takes. */
  words = new Uint32Array(16 * WORDS);
  count = 0;
  /** Sum of the lengths. */
  totalBytes = 0;

  /** Where the first range begins. */
  get firstAddress(): number {
    return (this.words[0] as number) + (this.words[1] as number) * 0x1_0000_0000;
  }

  clear(): void {
    this.count = 0;
    this.totalBytes = 0;
  }

  add(address: number, length: number): void {
    const at = this.count * WORDS;
    if (at === this.words.length) {
      const grown = new Uint32Array(2 * at);
      grown.set(this.words);
      this.words = grown;
    }
    const words = this.words;
    const high = Math.floor(address / 0x1_0000_0000);
    words[at] = address - high * 0x1_0000_0000;
    words[at + 1] = high;
    words[at + 2] = length;
    words[at + 3] = 0;
    this.count++;
    this.totalBytes += length;
  }

  /** Becomes the list of where guest memory segments are in this process. */
  fill(memory: GuestMemory, segments: SegmentList): void {
    this.clear();
    for (let i = 0; i < segments.count; i++) {
      this.add(memory.hostAddress(segments.address[i] as number), segments.length[i] as number);
    }
  }

  /** How many ranges at the front have together at most `limitBytes`; one at the least. */
  countWithin(limitBytes: number): number {
    let count = 1;
    let bytes = this.words[2] as number;
    while (count < this.count) {
      bytes += this.words[count * WORDS + 2] as number;
      if (bytes > limitBytes) break;
      count++;
    }
    return count;
  }

  /** Drops the first `sizeBytes`, which have been transferred. */
  advance(sizeBytes: number): void {
    const words = this.words;
    this.totalBytes -= sizeBytes;
    let whole = 0;
    let rest = sizeBytes;
    while (whole < this.count && rest >= (words[whole * WORDS + 2] as number)) {
      rest -= words[whole * WORDS + 2] as number;
      whole++;
    }
    words.copyWithin(0, whole * WORDS, this.count * WORDS);
    this.count -= whole;
    if (rest === 0) return;
    const address = (words[1] as number) * 0x1_0000_0000 + (words[0] as number) + rest;
    words[1] = Math.floor(address / 0x1_0000_0000);
    words[0] = address - (words[1] as number) * 0x1_0000_0000;
    words[2] = (words[2] as number) - rest;
  }
}
