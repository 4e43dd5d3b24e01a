/** Root System Description Pointer, version 2 (ACPI 6.5, 5.2.5.3): where a guest starts to read. */
import { ascii, bytes, packed, u8, u32, u64 } from "../../base/layout.ts";
import { checksum, OEM_ID } from "./table.ts";

export const Rsdp = packed("RSDP", "ACPI 6.5, 5.2.5.3", {
  signature: ascii(8),
  checksum: u8,
  oem_id: ascii(6),
  revision: u8,
  rsdt_address: u32,
  length: u32,
  xsdt_address: u64,
  extended_checksum: u8,
  reserved: bytes(3),
});

/** The first checksum covers what ACPI 1.0 had. */
const VERSION_1_BYTES = 20;

/** There is no RSDT: everything since ACPI 2.0 reads the XSDT. */
export function buildRsdp(xsdtAddress: number): Uint8Array {
  const rsdp = Rsdp.encode({
    signature: "RSD PTR ",
    oem_id: OEM_ID,
    revision: 2,
    length: Rsdp.size,
    xsdt_address: xsdtAddress,
  });
  rsdp[Rsdp.offset.checksum] = checksum(rsdp.subarray(0, VERSION_1_BYTES));
  rsdp[Rsdp.offset.extended_checksum] = checksum(rsdp);
  return rsdp;
}
