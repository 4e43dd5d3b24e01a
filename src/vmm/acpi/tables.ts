/** All ACPI tables of a machine, laid out where a PC's firmware has them. */
import { type GuestPhysical, guestPhysical } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { LowMemory, Mmio, type Range } from "../platform.ts";
import { buildDsdt, type DsdtConfig } from "./dsdt.ts";
import { buildFacs, FACS_ALIGN } from "./facs.ts";
import { buildFadt } from "./fadt.ts";
import { buildMadt } from "./madt.ts";
import { buildMcfg } from "./mcfg.ts";
import { buildRsdp, Rsdp } from "./rsdp.ts";
import { TableHeader } from "./table.ts";
import { buildXsdt } from "./xsdt.ts";

export type AcpiConfig = DsdtConfig;

/** What the tables of a directly booted machine say of it. */
export function directBootConfig(cpus: number, pciWindow64: Range | null): AcpiConfig {
  return { cpus, ecam: Mmio.ecam, pciWindows: [Mmio.pciWindow], pciWindow64 };
}

export interface PlacedTable {
  readonly address: GuestPhysical;
  readonly bytes: Uint8Array;
}

/** Guests search for the RSDP at multiples of this. */
const RSDP_ALIGN = 16;
const XSDT_ENTRIES = 3;

/** The tables and where in `range` they belong; the first is the RSDP, the second the XSDT. */
export function layoutAcpiTables(config: AcpiConfig, range: Range = LowMemory.acpi): PlacedTable[] {
  const { start, size } = range;
  const placed: PlacedTable[] = [];
  let next = start;
  const reserve = (length: number, align: number): GuestPhysical => {
    const address = Math.ceil(next / align) * align;
    next = address + length;
    if (next > start + size) {
      throw new ThimbleError(
        "acpi_too_large",
        `The ACPI tables of ${config.cpus} CPUs do not fit into ${size} bytes.`,
      );
    }
    return guestPhysical(address);
  };
  const place = (bytes: Uint8Array, align = RSDP_ALIGN): GuestPhysical => {
    const address = reserve(bytes.length, align);
    placed.push({ address, bytes });
    return address;
  };
  // The two that point to others come first in memory and last in building.
  const rsdpAt = reserve(Rsdp.size, RSDP_ALIGN);
  const xsdtAt = reserve(TableHeader.size + XSDT_ENTRIES * 8, RSDP_ALIGN);
  const facsAt = place(buildFacs(), FACS_ALIGN);
  const dsdtAt = place(buildDsdt(config));
  const listed = [buildFadt(facsAt, dsdtAt), buildMadt(config.cpus), buildMcfg(config.ecam.start)].map(
    (table) => place(table),
  );
  return [
    { address: rsdpAt, bytes: buildRsdp(xsdtAt) },
    { address: xsdtAt, bytes: buildXsdt(listed) },
    ...placed,
  ];
}

/** Builds the tables, puts them into guest memory and returns where the RSDP is. */
export function buildAcpiTables(memory: GuestMemory, config: AcpiConfig): GuestPhysical {
  const tables = layoutAcpiTables(config);
  for (const { address, bytes } of tables) memory.write(address, bytes);
  return (tables[0] as PlacedTable).address;
}
