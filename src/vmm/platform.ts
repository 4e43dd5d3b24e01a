/**
 * The machine's fixed layout: what is at which address, port and interrupt.
 *
 * RAM is at [0, 3 GiB) and from 4 GiB up (memory/guest-memory.ts); what lies between belongs to devices. The numbers
 * are those of an ordinary PC, because guests probe some of them without asking ACPI.
 */
import { GiB, KiB, MiB } from "../base/addresses.ts";
import { HIGH_MEMORY_START, PCI_HOLE_START } from "./memory/guest-memory.ts";

/** A range of addresses or ports: [start, start + size). */
export interface Range {
  readonly start: number;
  readonly size: number;
}

/**
 * All devices are on bus 0. Saying so saves time: for every further bus that the tables name, Linux asks 32 slots for
 * a device, one exit or two each, which made up a second of boot in the simulated server with 256 buses.
 */
export const PCI_BUSES = 1;

/** Guest-physical ranges of devices below 4 GiB. */
export const Mmio = {
  /** Where PCI puts 32-bit memory BARs. */
  pciWindow: { start: PCI_HOLE_START, size: 512 * MiB },
  /** PCI Express configuration space of segment 0: 1 MiB a bus. */
  ecam: { start: 0xe000_0000, size: PCI_BUSES * MiB },
  ioapic: { start: 0xfec0_0000, size: 4 * KiB },
  localApic: { start: 0xfee0_0000, size: 4 * KiB },
  /** One page KVM needs on Intel without unrestricted guest (KVM_SET_IDENTITY_MAP_ADDR). */
  kvmIdentityMap: { start: 0xfeff_c000, size: 4 * KiB },
  /** Three pages KVM needs on Intel (KVM_SET_TSS_ADDR). */
  kvmTss: { start: 0xfeff_d000, size: 12 * KiB },
  /** Firmware's flash ends at 4 GiB and is at most this large. */
  flash: { start: 0xff00_0000, size: 16 * MiB },
} as const satisfies Record<string, Range>;

/** I/O ports of devices. */
export const Port = {
  i8042Data: { start: 0x60, size: 1 },
  /** System control port B: speaker gate and refresh toggle, which delay loops of old software watch. */
  systemControlB: { start: 0x61, size: 1 },
  i8042Command: { start: 0x64, size: 1 },
  rtc: { start: 0x70, size: 2 },
  /** Where firmware and Linux (`io_delay`) write without meaning. */
  postCode: { start: 0x80, size: 1 },
  /** System control port A: fast A20 and fast reset. */
  systemControlA: { start: 0x92, size: 1 },
  /** Debug exit of test programs (devices/debug), opt-in. */
  debugExit: { start: 0xf4, size: 4 },
  /** Debug console, where Bochs and where OVMF have it; opt-in. */
  debugConsole: { start: 0xe9, size: 1 },
  debugConsoleOvmf: { start: 0x402, size: 1 },
  com1: { start: 0x3f8, size: 8 },
  /** PM1a event block, PM1a control block and PM timer (devices/acpi-pm). */
  acpiPm: { start: 0x600, size: 16 },
  /** PCI configuration mechanism 1: address dword. Only 4-byte accesses are the mechanism's. */
  pciConfigAddress: { start: 0xcf8, size: 4 },
  /** Firmware configuration (devices/fw-cfg): selector, data, and the DMA register. */
  fwCfg: { start: 0x510, size: 12 },
  /** Reset control register. Lies inside the address dword: byte accesses here are its own. */
  resetControl: { start: 0xcf9, size: 1 },
  pciConfigData: { start: 0xcfc, size: 4 },
} as const satisfies Record<string, Range>;

/** Offsets inside `Port.acpiPm`; the FADT tells the guest. */
export const AcpiPmOffset = { pm1Event: 0, pm1Control: 4, pmTimer: 8 } as const;

/** Global system interrupts: the IOAPIC's inputs (KVM's has 24). */
export const Gsi = {
  keyboard: 1,
  /** IRQ 0 of the interval timer arrives on input 2, as KVM's in-kernel interrupt controllers wire it. */
  timer: 2,
  com1: 4,
  rtc: 8,
  /** ACPI's system control interrupt: level, active high. */
  sci: 9,
  /** PCI INTA to INTD of any slot go to eight inputs from here, level, active low in the tables: `pciInterrupt`. */
  pciFirst: 16,
  pciCount: 8,
  ioapicInputs: 24,
} as const;

/** The IOAPIC input of a PCI slot's pin (0 is INTA): rotated by slot so that devices spread over the lines. */
export function pciInterrupt(slot: number, pin: number): number {
  return Gsi.pciFirst + ((slot + pin) % Gsi.pciCount);
}

/** Ids in the MADT. A CPU's local APIC id is its index. */
export const MAX_CPUS = 64;
/** Above the largest 8-bit CPU id in use, as the IOAPIC id may not collide with one. */
export const IOAPIC_ID = 0xf0;

/** Low memory that firmware of a PC claims (E820 shows both as reserved). */
export const LowMemory = {
  /** Extended BIOS data area: the last KiB below 640 KiB. */
  ebda: { start: 0x9_fc00, size: KiB },
  bios: { start: 0xe_0000, size: 128 * KiB },
  /** Parts of it: the ACPI tables, where guests look for the RSDP, and SMBIOS's, where they look for its entry point. */
  acpi: { start: 0xe_0000, size: 64 * KiB },
  smbios: { start: 0xf_0000, size: 64 * KiB },
} as const satisfies Record<string, Range>;

/** What OVMF takes for granted of a Q35's addresses below 4 GiB. */
export const FirmwareLayout = {
  /** Where RAM ends: OVMF puts configuration space above it, at 2.75 GiB in Debian 12, higher in others. */
  pciHoleStart: 2 * GiB,
  /** Where its 32-bit PCI window ends. */
  pciHoleEnd: 0xfc00_0000,
} as const;

const PCI_WINDOW64_SIZE = 64 * GiB;
/** AMD reserves the last 12 GiB below 1 TiB for HyperTransport on CPUs with 40 address bits. */
const HYPERTRANSPORT_START = 1012 * GiB;

/** Where 64-bit BARs go: above RAM, as far as the CPU's physical addresses reach. Null when nothing is left there. */
export function pciWindow64(memoryBytes: number, physicalAddressBits: number): Range | null {
  const start = aboveRam(memoryBytes, PCI_HOLE_START);
  const limit =
    physicalAddressBits <= 40
      ? Math.min(HYPERTRANSPORT_START, 2 ** physicalAddressBits)
      : 2 ** physicalAddressBits;
  const size = Math.min(PCI_WINDOW64_SIZE, limit - start);
  return size >= GiB ? { start, size } : null;
}

/** The same for firmware, which chooses a window itself: all there is above RAM. */
export function firmwareWindow64(memoryBytes: number, physicalAddressBits: number): Range | null {
  const start = aboveRam(memoryBytes, FirmwareLayout.pciHoleStart);
  const size = 2 ** physicalAddressBits - start;
  return size >= GiB ? { start, size } : null;
}

function aboveRam(memoryBytes: number, holeStart: number): number {
  const end = Math.max(HIGH_MEMORY_START, HIGH_MEMORY_START + memoryBytes - holeStart);
  return Math.ceil(end / GiB) * GiB;
}
