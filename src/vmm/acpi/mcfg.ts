/** PCI Express memory-mapped configuration space (PCI Firmware Specification 3.3, 4.1.2): where ECAM is. */
import { MiB } from "../../base/addresses.ts";
import { bytes, packed, u8, u16, u32, u64 } from "../../base/layout.ts";
import { Mmio } from "../platform.ts";
import { buildTable } from "./table.ts";

export const McfgBody = packed("MCFG", "PCI Firmware Specification 3.3, 4.1.2", {
  reserved: bytes(8),
  base_address: u64,
  segment: u16,
  bus_start: u8,
  bus_end: u8,
  reserved2: u32,
});

/** Configuration space of one bus: 32 devices of 8 functions of 4 KiB. */
const BYTES_PER_BUS = MiB;

export function buildMcfg(): Uint8Array {
  const { start, size } = Mmio.ecam;
  return buildTable("MCFG", 1, McfgBody.encode({ base_address: start, bus_end: size / BYTES_PER_BUS - 1 }));
}
