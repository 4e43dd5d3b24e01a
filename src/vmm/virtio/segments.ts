/** Small copies between segment lists in guest memory and buffers: headers, commands, console text. */
import type { SegmentList } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

/** Copies bytes from `offset` of the list on into `target`; returns how many there were. */
export function gather(memory: GuestMemory, list: SegmentList, offset: number, target: Uint8Array): number {
  return walk(memory, list, offset, target.length, (bytes, at) => target.set(bytes, at));
}

/** Copies `source` into the list from `offset` on; returns how many bytes had room. */
export function scatter(memory: GuestMemory, list: SegmentList, offset: number, source: Uint8Array): number {
  return walk(memory, list, offset, source.length, (bytes, at) =>
    bytes.set(source.subarray(at, at + bytes.length)),
  );
}

/** Calls back with the pieces of the list from `offset` on, at most `limit` bytes; returns how many there were. */
export function walk(
  memory: GuestMemory,
  list: SegmentList,
  offset: number,
  limit: number,
  piece: (bytes: Uint8Array<ArrayBuffer>, at: number) => void,
): number {
  let skip = offset;
  let done = 0;
  for (let i = 0; i < list.count && done < limit; i++) {
    const length = list.length[i] as number;
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const size = Math.min(length - skip, limit - done);
    const start = done;
    memory.split((list.address[i] as number) + skip, size, (bytes, at) => piece(bytes, start + at));
    done += size;
    skip = 0;
  }
  return done;
}

/** A list that stays as it is now. */
export function copyOf(list: SegmentList): SegmentList {
  const { count } = list;
  return { count, address: list.address.slice(0, count), length: list.length.slice(0, count) };
}

/** Sum of the lengths. */
export function bytesOf(list: SegmentList): number {
  let total = 0;
  for (let i = 0; i < list.count; i++) total += list.length[i] as number;
  return total;
}

/** Removes the first `bytes` bytes of a list that has at least as many. */
export function dropFront(list: SegmentList, bytes: number): void {
  const { address, length } = list;
  if (length[0] === bytes && list.count > 0) {
    // One whole segment, as a header is: the usual case, and hot.
    const count = --list.count;
    for (let i = 0; i < count; ) {
      const at = i++;
      address[at] = address[i] as number;
      length[at] = length[i] as number;
    }
    return;
  }
  let first = 0;
  let left = bytes;
  while (first < list.count && left >= (length[first] as number)) left -= length[first++] as number;
  if (left > 0) {
    address[first] = (address[first] as number) + left;
    length[first] = (length[first] as number) - left;
  }
  if (first === 0) return;
  const count = list.count - first;
  for (let i = 0; i < count; i++) {
    address[i] = address[first + i] as number;
    length[i] = length[first + i] as number;
  }
  list.count = count;
}

/** Reads 1, 2 or 4 bytes, little-endian, of a configuration structure. */
export function readRegister(bytes: Uint8Array, offset: number, size: number): number {
  let value = 0;
  for (let i = offset + size - 1; i >= offset; i--) value = value * 0x100 + (bytes[i] as number);
  return value;
}
