/**
 * Gives guest pages back to the host in as few pieces as possible: page numbers are sorted and neighbours joined.
 * Whatever is not RAM (holes, firmware, flash, display memory, device registers) is passed over.
 */
import type { SegmentList } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { gather } from "../segments.ts";
import { BALLOON_PAGE_SIZE, PAGES_PER_BUFFER } from "./bits.ts";

/** Gives [address, address + length) back to the host: RAM, whole pages. Must not throw. */
export type ReleaseMemory = (address: number, length: number) => void;

export class PageReleaser {
  /** Bytes given back so far. */
  releasedBytes = 0;
  readonly #numbers = new Uint32Array(PAGES_PER_BUFFER);
  readonly #bytes = new Uint8Array(this.#numbers.buffer);

  constructor(
    private readonly memory: GuestMemory,
    private readonly release: ReleaseMemory,
  ) {}

  /** Gives back the pages whose 32-bit numbers the list holds, at most PAGES_PER_BUFFER. Returns how many there were. */
  releaseNumbered(list: SegmentList): number {
    const count = gather(this.memory, list, 0, this.#bytes) >>> 2;
    const numbers = this.#numbers.subarray(0, count).sort();
    for (let i = 0; i < count; ) {
      const first = numbers[i] as number;
      let next = first + 1;
      // A number given twice is one page.
      for (i++; i < count && (numbers[i] as number) <= next; i++) next = (numbers[i] as number) + 1;
      this.releaseRange(first * BALLOON_PAGE_SIZE, next * BALLOON_PAGE_SIZE);
    }
    return count;
  }

  /** Gives back the whole pages of each segment. */
  releaseSegments(list: SegmentList): void {
    for (let i = 0; i < list.count; i++) {
      const address = list.address[i] as number;
      const end = address + (list.length[i] as number);
      const first = Math.ceil(address / BALLOON_PAGE_SIZE);
      this.releaseRange(first * BALLOON_PAGE_SIZE, Math.floor(end / BALLOON_PAGE_SIZE) * BALLOON_PAGE_SIZE);
    }
  }

  /** Gives back what of [start, end) is RAM. */
  private releaseRange(start: number, end: number): void {
    const { regions } = this.memory;
    for (let i = 0; i < regions.length; i++) {
      const region = regions[i] as (typeof regions)[number];
      const from = Math.max(start, region.start);
      const length = Math.min(end, region.start + region.sizeBytes) - from;
      if (length <= 0) continue;
      this.releasedBytes += length;
      this.release(from, length);
    }
  }
}
