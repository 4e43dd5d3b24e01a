/** PCI Express memory-mapped configuration space (PCI Firmware Specification 3.3, 4.1.2): where ECAM is. */
import { bytes, packed, u8, u16, u32, u64 } from "../../base/layout.ts";
import { PCI_BUSES } from "../platform.ts";
import { buildTable } from "./table.ts";

export const McfgBody = packed("MCFG", "PCI Firmware Specification 3.3, 4.1.2", {
  reserved: bytes(8),
  base_address: u64,
  segment: u16,
  bus_start: u8,
  bus_end: u8,
  reserved2: u32,
});

export function buildMcfg(ecamStart: number): Uint8Array {
  return buildTable("MCFG", 1, McfgBody.encode({ base_address: ecamStart, bus_end: PCI_BUSES - 1 }));
}
