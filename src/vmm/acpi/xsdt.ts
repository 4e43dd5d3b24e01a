/** Extended System Description Table (ACPI 6.5, 5.2.8): the addresses of all tables but DSDT and FACS. */
import { u64 } from "../../base/layout.ts";
import { buildTable } from "./table.ts";

export function buildXsdt(tableAddresses: readonly number[]): Uint8Array {
  const body = new Uint8Array(tableAddresses.length * u64.size);
  const view = new DataView(body.buffer);
  tableAddresses.forEach((address, i) => {
    u64.write(view, i * u64.size, address);
  });
  return buildTable("XSDT", 1, body);
}
