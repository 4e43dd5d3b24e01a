/** The memory map that a directly booted kernel is given (E820; ACPI 6.5, 15.1): RAM and what is reserved in between. */
import { HIGH_MEMORY_START, layoutRam } from "../memory/guest-memory.ts";
import { LowMemory, Mmio } from "../platform.ts";

export const MemoryType = { Ram: 1, Reserved: 2 } as const;

export interface MemoryMapEntry {
  readonly start: number;
  readonly size: number;
  readonly type: number;
}

const VGA_HOLE_START = 0xa_0000;
const EXTENDED_START = 0x10_0000;

/** Entries in order of address, without overlap, for a machine with this much RAM (at least 2 MiB). */
export function buildMemoryMap(memoryBytes: number): MemoryMapEntry[] {
  const entries: MemoryMapEntry[] = [];
  const add = (start: number, end: number, type: number) => entries.push({ start, size: end - start, type });
  const { ebda, bios } = LowMemory;
  const lowSize = layoutRam(memoryBytes)[0]?.sizeBytes ?? 0;
  add(0, ebda.start, MemoryType.Ram);
  add(ebda.start, VGA_HOLE_START, MemoryType.Reserved);
  add(bios.start, EXTENDED_START, MemoryType.Reserved);
  add(EXTENDED_START, lowSize, MemoryType.Ram);
  // Linux trusts the MCFG table only for addresses that are reserved here or in ACPI.
  add(Mmio.ecam.start, Mmio.ecam.start + Mmio.ecam.size, MemoryType.Reserved);
  // KVM's own pages on Intel: nothing of the guest may be put there.
  add(Mmio.kvmIdentityMap.start, Mmio.kvmTss.start + Mmio.kvmTss.size, MemoryType.Reserved);
  if (memoryBytes > lowSize) {
    add(HIGH_MEMORY_START, HIGH_MEMORY_START + memoryBytes - lowSize, MemoryType.Ram);
  }
  return entries;
}
