/** The registers that OVMF looks for on an Intel Q35: MCH data sheet (316966), ICH9 data sheet (316972), by their names. */
import { bytes, packed, u8, u32, u64 } from "../../../base/layout.ts";

/** Host bridge, 00:00.0, from 0x60 on. */
export const MchRegisters = packed("MCH", "316966, 5.1", { pciexbar: u64 });
export const MCH_REGISTERS_START = 0x60;

export const Pciexbar = {
  enable: 1,
  /** A window of 256 MiB, the only length there is here: all 256 buses. */
  baseMaskLow: 0xf000_0000,
  baseMaskHigh: 0xf,
} as const;
export const PCIEXBAR_WINDOW_BYTES = 0x1000_0000;

/** LPC bridge, 00:1f.0, from 0x40 on. */
export const LpcRegisters = packed("LPC", "316972, 13.1", {
  pmbase: u32,
  acpiControl: u8,
  reserved1: bytes(0x60 - 0x45),
  /** Routing of PIRQA to PIRQD, E to H: kept, without effect, as the tables name the IOAPIC's inputs. */
  pirqRoutingA: u32,
  reserved2: bytes(4),
  pirqRoutingE: u32,
  reserved3: bytes(0xf0 - 0x6c),
  rcba: u32,
});
export const LPC_REGISTERS_START = 0x40;

/** PMBASE: the space is I/O. */
export const PMBASE_IO_SPACE = 1;
/** ACPI_CNTL: the power management block is decoded; its interrupt is IRQ 9. */
export const ACPI_ENABLE = 0x80;
export const RCBA_MASK = 0xffff_c001;
export const PIRQ_MASK = 0x8f8f_8f8f;
