/**
 * Multiple APIC Description Table (ACPI 6.5, 5.2.12): processors, the IOAPIC, and where ISA interrupts arrive.
 *
 * APIC ids are below 255 for as many CPUs as a machine may have, so plain local APIC entries do; x2APIC mode does not
 * need others.
 */
import { packed, u8, u16, u32 } from "../../base/layout.ts";
import { Gsi, IOAPIC_ID, Mmio } from "../platform.ts";
import { buildTable, concatenate } from "./table.ts";

const EntryType = { LocalApic: 0, IoApic: 1, InterruptSourceOverride: 2, LocalApicNmi: 4 } as const;

export const MadtBody = packed("MADT", "ACPI 6.5, 5.2.12", { local_apic_address: u32, flags: u32 });

export const LocalApicEntry = packed("Processor Local APIC", "ACPI 6.5, 5.2.12.2", {
  type: u8,
  length: u8,
  processor_uid: u8,
  apic_id: u8,
  flags: u32,
});

export const IoApicEntry = packed("I/O APIC", "ACPI 6.5, 5.2.12.3", {
  type: u8,
  length: u8,
  id: u8,
  reserved: u8,
  address: u32,
  gsi_base: u32,
});

export const InterruptSourceOverride = packed("Interrupt Source Override", "ACPI 6.5, 5.2.12.5", {
  type: u8,
  length: u8,
  bus: u8,
  source: u8,
  gsi: u32,
  flags: u16,
});

export const LocalApicNmi = packed("Local APIC NMI", "ACPI 6.5, 5.2.12.7", {
  type: u8,
  length: u8,
  processor_uid: u8,
  flags: u16,
  lint: u8,
});

const REVISION = 5;
/** A PC-AT compatible pair of 8259s is there as well: KVM has one. */
const PCAT_COMPAT = 1;
const ENABLED = 1;
/** MPS INTI flags (table 5.26). */
const Inti = { BusDefault: 0, ActiveHighLevel: 0x000d } as const;
const ALL_PROCESSORS = 0xff;

export function buildMadt(cpus: number): Uint8Array {
  const pieces = [MadtBody.encode({ local_apic_address: Mmio.localApic.start, flags: PCAT_COMPAT })];
  for (let cpu = 0; cpu < cpus; cpu++) {
    pieces.push(
      LocalApicEntry.encode({
        type: EntryType.LocalApic,
        length: LocalApicEntry.size,
        processor_uid: cpu,
        apic_id: cpu,
        flags: ENABLED,
      }),
    );
  }
  pieces.push(
    IoApicEntry.encode({
      type: EntryType.IoApic,
      length: IoApicEntry.size,
      id: IOAPIC_ID,
      address: Mmio.ioapic.start,
    }),
    isaOverride(0, Gsi.timer, Inti.BusDefault),
    isaOverride(Gsi.sci, Gsi.sci, Inti.ActiveHighLevel),
    LocalApicNmi.encode({
      type: EntryType.LocalApicNmi,
      length: LocalApicNmi.size,
      processor_uid: ALL_PROCESSORS,
      lint: 1,
    }),
  );
  return buildTable("APIC", REVISION, concatenate(pieces));
}

function isaOverride(irq: number, gsi: number, flags: number): Uint8Array<ArrayBuffer> {
  return InterruptSourceOverride.encode({
    type: EntryType.InterruptSourceOverride,
    length: InterruptSourceOverride.size,
    source: irq,
    gsi,
    flags,
  });
}
