/** Resource descriptors (ACPI 6.5, 6.4): what a device's _CRS says it uses, or a bridge passes on. */
import type { Range } from "../../platform.ts";
import { type Aml, littleEndian } from "./encode.ts";
import { buffer } from "./terms.ts";

/** Descriptor tags: small ones carry their length, large ones have it after them. */
const Tag = {
  Irq: 0x23,
  Io: 0x47,
  End: 0x79,
  Memory32Fixed: 0x86,
  DWordAddress: 0x87,
  WordAddress: 0x88,
  QWordAddress: 0x8a,
} as const;

const SpaceType = { Memory: 0, Io: 1, BusNumber: 2 } as const;
/** Both ends of the range are fixed, and the bridge passes it on. */
const FIXED_WINDOW = 0x0c;
const MEMORY_READ_WRITE = 0x01;
/** The whole range, ISA and others (bits for I/O ranges). */
const IO_ENTIRE_RANGE = 0x03;
const DECODE_16_BITS = 0x01;
const EDGE_ACTIVE_HIGH_EXCLUSIVE = 0x01;

export type Resource = readonly number[];

/** A buffer with the descriptors and the end tag; a checksum of 0 means "not computed" (6.4.2.9). */
export function resourceTemplate(...resources: Resource[]): Aml {
  return buffer([...resources.flat(), Tag.End, 0]);
}

/** I/O ports at a fixed place (6.4.2.5). */
export function ioPorts({ start, size }: Range): Resource {
  return [Tag.Io, DECODE_16_BITS, ...littleEndian(start, 2), ...littleEndian(start, 2), 1, size];
}

/** An ISA interrupt: edge, active high, exclusive (6.4.2.1). */
export function isaInterrupt(irq: number): Resource {
  return [Tag.Irq, ...littleEndian(1 << irq, 2), EDGE_ACTIVE_HIGH_EXCLUSIVE];
}

/** Memory at a fixed place (6.4.3.4). */
export function fixedMemory({ start, size }: Range): Resource {
  return [
    Tag.Memory32Fixed,
    ...littleEndian(9, 2),
    MEMORY_READ_WRITE,
    ...littleEndian(start, 4),
    ...littleEndian(size, 4),
  ];
}

/** Buses below a PCI host bridge. */
export function busWindow(range: Range): Resource {
  return addressWindow(Tag.WordAddress, 2, SpaceType.BusNumber, 0, range);
}

export function ioWindow(range: Range): Resource {
  return addressWindow(Tag.WordAddress, 2, SpaceType.Io, IO_ENTIRE_RANGE, range);
}

/** Memory that a bridge passes on: 32-bit form where it fits. */
export function memoryWindow(range: Range): Resource {
  return range.start + range.size <= 2 ** 32
    ? addressWindow(Tag.DWordAddress, 4, SpaceType.Memory, MEMORY_READ_WRITE, range)
    : addressWindow(Tag.QWordAddress, 8, SpaceType.Memory, MEMORY_READ_WRITE, range);
}

/** Address space descriptors (6.4.3.5): granularity, minimum, maximum, translation, length. */
function addressWindow(tag: number, width: number, space: number, flags: number, range: Range): Resource {
  const numbers = [0, range.start, range.start + range.size - 1, 0, range.size];
  return [
    tag,
    ...littleEndian(3 + 5 * width, 2),
    space,
    FIXED_WINDOW,
    flags,
    ...numbers.flatMap((n) => littleEndian(n, width)),
  ];
}
