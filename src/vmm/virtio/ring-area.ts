/**
 * Where one part of a virtqueue lies: typed arrays over the window of guest memory it is in. A part that crosses
 * windows is worked on in a copy, which the queue brings up to date before reading and writes through after writing.
 */
import { GiB } from "../../base/addresses.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { AvailableHeader, UsedElement, UsedHeader } from "./bits.ts";

/** A descriptor table, available ring or used ring: arrays that hold it and where it starts in them. */
export interface RingArea {
  readonly words: Uint16Array<ArrayBuffer>;
  readonly dwords: Uint32Array<ArrayBuffer>;
  readonly wordBase: number;
  readonly dwordBase: number;
  /** The copy of an area that crosses windows. */
  readonly copy: Uint8Array<ArrayBuffer> | null;
  readonly address: number;
}

export const NO_AREA: RingArea = {
  words: new Uint16Array(0),
  dwords: new Uint32Array(0),
  wordBase: 0,
  dwordBase: 0,
  copy: null,
  address: 0,
};

/** Flags, index, ring and used_event (virtio 1.2, 2.7.6). */
export function availableBytes(size: number): number {
  return AvailableHeader.size + 2 * size + 2;
}

/** Flags, index, ring and avail_event (2.7.8). */
export function usedBytes(size: number): number {
  return UsedHeader.size + UsedElement.size * size + 2;
}

/** Null when the area is misaligned or not all of it is RAM. */
export function openArea(
  memory: GuestMemory,
  address: number,
  length: number,
  alignment: number,
): RingArea | null {
  if (address % alignment !== 0 || !memory.contains(address, length)) return null;
  const window = Math.floor(address / GiB);
  const offset = address % GiB;
  const words = memory.words[window];
  const dwords = memory.dwords[window];
  if (words !== undefined && dwords !== undefined && offset + length <= dwords.length * 4) {
    return { words, dwords, wordBase: offset >>> 1, dwordBase: offset >>> 2, copy: null, address };
  }
  const buffer = new ArrayBuffer(Math.ceil(length / 4) * 4);
  const area: RingArea = {
    words: new Uint16Array(buffer),
    dwords: new Uint32Array(buffer),
    wordBase: 0,
    dwordBase: 0,
    copy: new Uint8Array(buffer, 0, length),
    address,
  };
  readArea(memory, area);
  return area;
}

/** Brings the copy up to date, when the area has one. */
export function readArea(memory: GuestMemory, area: RingArea): void {
  const { copy, address } = area;
  if (copy !== null) memory.split(address, copy.length, (piece, done) => copy.set(piece, done));
}

/** Writes part of the copy through to guest memory, when the area has one. */
export function writeArea(memory: GuestMemory, area: RingArea, offset: number, length: number): void {
  if (area.copy !== null) memory.write(area.address + offset, area.copy.subarray(offset, offset + length));
}
