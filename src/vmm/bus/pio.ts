/**
 * The I/O port bus: which device answers which port.
 *
 * A table of two levels leads from a port to its registration: 4,096 pages of 16 ports, of which only those in use
 * have entries. An access that lies in one registration reaches its device whole; one that runs over its end is taken
 * apart into bytes, as on the ISA bus. Ports of nobody read as all ones and swallow writes.
 */
import { ThimbleError } from "../../base/errors.ts";
import type { RegisterBlock } from "../contract.ts";

const PORTS = 0x1_0000;
const PAGE_SHIFT = 4;
const PAGE_PORTS = 1 << PAGE_SHIFT;
/** Page and registration numbers are bytes; 0 means none. */
const NUMBER_MAX = 255;

/** All ones for an access of 1, 2 or 4 bytes. */
const ONES = [0, 0xff, 0xffff, 0, 0xffff_ffff] as const;

interface Registration {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly block: RegisterBlock;
}

export class PioBus {
  readonly #pageOf = new Uint8Array(PORTS >> PAGE_SHIFT);
  /** Registration number of each port of each page in use; page 0 belongs to nobody. */
  #owners = new Uint8Array(PAGE_PORTS);
  readonly #registrations: (Registration | null)[] = [null];

  /**
   * Gives ports [start, start + size) to a device. A range may lie wholly inside one registered before, whose part it
   * then takes over for accesses that begin there (0xCF9 inside 0xCF8..0xCFB). Throws when it overlaps otherwise.
   */
  register(
    name: string,
    range: { readonly start: number; readonly size: number },
    block: RegisterBlock,
  ): void {
    const start = range.start;
    const end = start + range.size;
    if (!(start >= 0 && range.size > 0 && end <= PORTS) || this.#registrations.length > NUMBER_MAX) {
      throw new ThimbleError(
        "bad_port_range",
        `${name}: ports ${hex(start)}..${hex(end - 1)} cannot be registered`,
      );
    }
    const outer = this.#ownerOf(start);
    for (let port = start; port < end; port++) {
      const owner = this.#ownerOf(port);
      if (owner !== outer || (owner !== null && owner.end < end)) {
        const other = owner ?? outer;
        throw new ThimbleError("port_taken", `${name}: port ${hex(port)} already belongs to ${other?.name}`);
      }
    }
    const number = this.#registrations.push({ name, start, end, block }) - 1;
    for (let port = start; port < end; port++) {
      const page = this.#claimPage(port >> PAGE_SHIFT);
      this.#owners[page * PAGE_PORTS + (port & (PAGE_PORTS - 1))] = number;
    }
  }

  /** Reads 1, 2 or 4 bytes. */
  read(port: number, size: number): number {
    const owner = this.#ownerOf(port);
    if (owner !== null && port + size <= owner.end) return owner.block.read(port - owner.start, size);
    if (size === 1) return 0xff;
    if (owner === null && this.#unownedFrom(port + 1, size - 1)) return ONES[size] as number;
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 0x100 + this.read((port + i) & 0xffff, 1);
    return value;
  }

  /** Writes 1, 2 or 4 bytes. */
  write(port: number, size: number, value: number): void {
    const owner = this.#ownerOf(port);
    if (owner !== null && port + size <= owner.end) {
      owner.block.write(port - owner.start, size, value);
      return;
    }
    if (size === 1) return;
    for (let i = 0; i < size; i++) this.write((port + i) & 0xffff, 1, (value >>> (8 * i)) & 0xff);
  }

  #ownerOf(port: number): Registration | null {
    const page = this.#pageOf[port >> PAGE_SHIFT] as number;
    return this.#registrations[
      this.#owners[page * PAGE_PORTS + (port & (PAGE_PORTS - 1))] as number
    ] as Registration | null;
  }

  #unownedFrom(port: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (this.#ownerOf((port + i) & 0xffff) !== null) return false;
    return true;
  }

  #claimPage(index: number): number {
    const existing = this.#pageOf[index] as number;
    if (existing !== 0) return existing;
    const page = this.#owners.length / PAGE_PORTS;
    if (page > NUMBER_MAX)
      throw new ThimbleError("too_many_ports", "devices use more than 255 pages of ports");
    const grown = new Uint8Array(this.#owners.length + PAGE_PORTS);
    grown.set(this.#owners);
    this.#owners = grown;
    this.#pageOf[index] = page;
    return page;
  }
}

function hex(port: number): string {
  return `0x${port.toString(16)}`;
}
