/**
 * The memory-mapped I/O bus: which device answers an address outside RAM.
 *
 * Regions may move (PCI BARs) and the guest may put them where it likes, so they may overlap: then the one that
 * starts last answers. Addresses of nobody read as all ones and swallow writes.
 */
import { type GuestPhysical, guestPhysical } from "../../base/addresses.ts";
import type { RegisterBlock } from "../contract.ts";

/** A region on the bus, or taken off it. */
export interface MmioRegion {
  /** Where it is; null while it is not on the bus. */
  readonly start: GuestPhysical | null;
  readonly sizeBytes: number;
  /** Moves it, or takes it off the bus with null. */
  move(start: GuestPhysical | null): void;
}

class Region implements MmioRegion {
  start: GuestPhysical | null = null;

  constructor(
    readonly name: string,
    readonly sizeBytes: number,
    readonly block: RegisterBlock,
    private readonly moved: (region: Region) => void,
  ) {}

  move(start: GuestPhysical | null): void {
    if (start === this.start) return;
    this.start = start;
    this.moved(this);
  }
}

export class MmioBus {
  /** On the bus, by start; the three arrays run in parallel. */
  #regions: Region[] = [];
  #starts = new Float64Array(0);
  #ends = new Float64Array(0);
  /** Index of the region found last: most accesses go where the one before went. */
  #last = 0;

  /** Makes a region for a device; with `start` null it is not on the bus yet. `name` is for logs. */
  register(
    name: string,
    start: GuestPhysical | number | null,
    sizeBytes: number,
    block: RegisterBlock,
  ): MmioRegion {
    const region = new Region(name, sizeBytes, block, (moved) => this.#place(moved));
    if (start !== null) region.move(guestPhysical(start));
    return region;
  }

  /** Reads 1, 2 or 4 bytes. */
  read(address: number, size: number): number {
    const index = this.#find(address);
    if (index < 0) return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
    if (address + size <= (this.#ends[index] as number)) {
      return (this.#regions[index] as Region).block.read(address - (this.#starts[index] as number), size);
    }
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 0x100 + this.read(address + i, 1);
    return value;
  }

  /** Writes 1, 2 or 4 bytes. */
  write(address: number, size: number, value: number): void {
    const index = this.#find(address);
    if (index < 0) return;
    if (address + size <= (this.#ends[index] as number)) {
      (this.#regions[index] as Region).block.write(address - (this.#starts[index] as number), size, value);
      return;
    }
    for (let i = 0; i < size; i++) this.write(address + i, 1, (value >>> (8 * i)) & 0xff);
  }

  /** Index of the region that answers `address`, or -1. */
  #find(address: number): number {
    const starts = this.#starts;
    const ends = this.#ends;
    const count = starts.length;
    const last = this.#last;
    // The cached region is the answer only if none that starts later covers the address too.
    if (
      last < count &&
      address >= (starts[last] as number) &&
      address < (ends[last] as number) &&
      (last + 1 === count || address < (starts[last + 1] as number))
    ) {
      return last;
    }
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] as number) <= address) low = middle + 1;
      else high = middle;
    }
    for (let i = low - 1; i >= 0; i--) {
      if (address < (ends[i] as number)) {
        this.#last = i;
        return i;
      }
    }
    return -1;
  }

  #place(moved: Region): void {
    const regions = this.#regions.filter((region) => region !== moved);
    if (moved.start !== null) regions.push(moved);
    // The sort is stable: of regions at the same address the one placed last answers.
    regions.sort((a, b) => (a.start as number) - (b.start as number));
    this.#regions = regions;
    this.#starts = Float64Array.from(regions, (region) => region.start as number);
    this.#ends = Float64Array.from(regions, (region) => (region.start as number) + region.sizeBytes);
  }
}
