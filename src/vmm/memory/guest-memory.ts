/**
 * Guest-physical memory as TypeScript reads it.
 *
 * RAM is at [0, lowSize) and, what does not fit below the PCI hole, from 4 GiB up. The engine's buffers hold at most
 * 2^31 - 1 bytes, so RAM is seen through windows of 1 GiB of guest-physical space: window n covers
 * [n GiB, (n + 1) GiB), or as much of it as is RAM. Hot paths fetch the typed array of a window once and index it;
 * whatever may cross a window goes through `split`, `read` and `write`.
 */
import {
  GiB,
  type GuestPhysical,
  guestPhysical,
  type HostVirtual,
  hostVirtual,
} from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import type { SegmentList } from "../contract.ts";

/** Everything from here to 4 GiB belongs to devices: ECAM, BARs, IOAPIC, LAPIC, flash. */
export const PCI_HOLE_START = 3 * GiB;
export const HIGH_MEMORY_START = 4 * GiB;
const WINDOW_SIZE = GiB;

/** A contiguous range of RAM and where it lies in this process. */
export interface MemoryRegion {
  readonly start: GuestPhysical;
  readonly sizeBytes: number;
  /** Address of the region's first byte; 0 under the unit-test runner. */
  readonly host: HostVirtual;
}

/** Splits `sizeBytes` of RAM around the PCI hole, which begins at `holeStart`. */
export function layoutRam(
  sizeBytes: number,
  holeStart: number = PCI_HOLE_START,
): { start: GuestPhysical; sizeBytes: number }[] {
  const low = Math.min(sizeBytes, holeStart);
  const regions = [{ start: guestPhysical(0), sizeBytes: low }];
  if (sizeBytes > low) {
    regions.push({ start: guestPhysical(HIGH_MEMORY_START), sizeBytes: sizeBytes - low });
  }
  return regions;
}

/** Makes the buffer for part of a region: in the image a view of mapped memory, in tests a plain buffer. */
export type WindowMapper = (region: MemoryRegion, offsetInRegion: number, sizeBytes: number) => ArrayBuffer;

/** Tells the host that [host, host + length) is about to be filled. */
export type FillAdvice = (host: HostVirtual, length: number) => void;

export class GuestMemory {
  readonly #adviseFill: FillAdvice;
  readonly regions: readonly MemoryRegion[];
  readonly sizeBytes: number;
  /** By GiB of guest-physical address; a hole has no entry. Typed arrays of different width over the same bytes. */
  readonly bytes: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  readonly words: (Uint16Array<ArrayBuffer> | undefined)[] = [];
  readonly dwords: (Uint32Array<ArrayBuffer> | undefined)[] = [];

  constructor(regions: readonly MemoryRegion[], map: WindowMapper, adviseFill: FillAdvice = () => {}) {
    this.regions = regions;
    this.#adviseFill = adviseFill;
    let total = 0;
    for (const region of regions) {
      total += region.sizeBytes;
      for (let offset = 0; offset < region.sizeBytes; offset += WINDOW_SIZE) {
        const size = Math.min(WINDOW_SIZE, region.sizeBytes - offset);
        const buffer = map(region, offset, size);
        const index = Math.floor((region.start + offset) / WINDOW_SIZE);
        this.bytes[index] = new Uint8Array(buffer);
        this.words[index] = new Uint16Array(buffer, 0, buffer.byteLength >>> 1);
        this.dwords[index] = new Uint32Array(buffer, 0, buffer.byteLength >>> 2);
      }
    }
    this.sizeBytes = total;
  }

  /** Memory of plain buffers, for unit tests. Layout as in a real machine. */
  static forTest(sizeBytes: number): GuestMemory {
    const regions = layoutRam(sizeBytes).map((r) => ({ ...r, host: hostVirtual(0) }));
    return new GuestMemory(regions, (_region, _offset, size) => new ArrayBuffer(size));
  }

  /** Whether all of [address, address + length) is RAM. Any numbers may be asked. */
  contains(address: number, length: number): boolean {
    if (!(address >= 0 && length >= 0)) return false;
    for (const region of this.regions) {
      if (address >= region.start && address + length <= region.start + region.sizeBytes) return true;
    }
    return false;
  }

  /**
   * The bytes [address, address + length) as one array when they lie in RAM and in one window; otherwise null.
   * Rings, headers and other small structures use it; what may be large uses `split`.
   */
  view(address: number, length: number): Uint8Array<ArrayBuffer> | null {
    if (!(address >= 0 && length >= 0)) return null;
    const window = this.bytes[Math.floor(address / WINDOW_SIZE)];
    const offset = address % WINDOW_SIZE;
    if (window === undefined || offset + length > window.length) return null;
    return window.subarray(offset, offset + length);
  }

  /** Calls back with each piece of [address, address + length) that lies in one window; false when not all is RAM. */
  split(
    address: number,
    length: number,
    piece: (bytes: Uint8Array<ArrayBuffer>, done: number) => void,
  ): boolean {
    if (!this.contains(address, length)) return false;
    for (let done = 0; done < length; ) {
      const offset = (address + done) % WINDOW_SIZE;
      const size = Math.min(length - done, WINDOW_SIZE - offset);
      piece(this.view(address + done, size) as Uint8Array<ArrayBuffer>, done);
      done += size;
    }
    return true;
  }

  /** Copies out of guest memory. Throws when the range is not RAM: guest-given ranges are checked by the caller. */
  read(address: number, length: number): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(length);
    if (!this.split(address, length, (bytes, done) => out.set(bytes, done))) throw notRam(address, length);
    return out;
  }

  /** Copies into guest memory. Throws when the range is not RAM. */
  write(address: number, data: Uint8Array): void {
    const ok = this.split(address, data.length, (bytes, done) =>
      bytes.set(data.subarray(done, done + bytes.length)),
    );
    if (!ok) throw notRam(address, data.length);
  }

  /** To be called before all of [address, address + length), which is RAM, is written. */
  expectFill(address: number, length: number): void {
    this.#adviseFill(this.hostAddress(address), length);
  }

  /** Where guest-physical `address` is in this process. The caller has checked that it is RAM. */
  hostAddress(address: number): HostVirtual {
    for (const region of this.regions) {
      if (address >= region.start && address < region.start + region.sizeBytes) {
        return hostVirtual(region.host + (address - region.start));
      }
    }
    throw notRam(address, 1);
  }
}

/** A segment list with room for `capacity` segments. */
export function createSegmentList(capacity: number): SegmentList {
  return { count: 0, address: new Float64Array(capacity), length: new Uint32Array(capacity) };
}

function notRam(address: number, length: number): ThimbleError {
  return new ThimbleError(
    "not_ram",
    `${length} bytes at guest-physical 0x${address.toString(16)} are not RAM`,
  );
}
