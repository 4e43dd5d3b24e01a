/**
 * Differentiated System Description Table (ACPI 6.5, 5.2.11.1): the devices a guest cannot find by asking a bus.
 *
 *     \_SB   C000…   processors (ACPI0007), tied to the MADT by _UID
 *            PCI0    PCI Express root (PNP0A08): windows, interrupt routing, _OSC
 *            COM1    serial port (PNP0501)
 *            RTC     real-time clock (PNP0B00)
 *            MBRD    motherboard resources (PNP0C02): reserves ECAM
 *     \_S5   soft-off
 *
 * The power button is fixed hardware (FADT). The keyboard controller is not listed: nothing is plugged into it.
 */
import { SLEEP_TYPE_S5 } from "../devices/acpi-pm/bits.ts";
import { Gsi, PCI_BUSES, Port, pciInterrupt, type Range } from "../platform.ts";
import { type Aml, eisaId, integer, join, path, string, uuidBytes } from "./aml/encode.ts";
import {
  busWindow,
  fixedMemory,
  ioPorts,
  ioWindow,
  isaInterrupt,
  memoryWindow,
  resourceTemplate,
} from "./aml/resources.ts";
import {
  argument,
  buffer,
  createDWordField,
  device,
  equal,
  ifThen,
  name,
  not,
  or,
  otherwise,
  packageOf,
  returns,
  scope,
  serializedMethod,
} from "./aml/terms.ts";
import { buildTable } from "./table.ts";

export interface DsdtConfig {
  readonly cpus: number;
  /** Where PCI Express configuration space is. */
  readonly ecam: Range;
  /** Where 32-bit BARs go. */
  readonly pciWindows: readonly Range[];
  /** Where 64-bit BARs go, when there is room for them. */
  readonly pciWindow64: Range | null;
}

/** Revision 2 makes integers 64 bits wide. */
const REVISION = 2;
const PCI_SLOTS = 32;
const INTA = 0;
/** Any function of a slot, in the address of a routing entry (6.2.13). */
const ANY_FUNCTION = 0xffff;
/** _OSC for PCI host bridges (PCI Firmware Specification 3.3, 4.5.1). */
const OSC_PCI_UUID = "33DB4D5B-1FF7-401C-9657-7441C03DD766";
const OscStatus = { UnrecognizedUuid: 0x04, UnrecognizedRevision: 0x08 } as const;
const OSC_REVISION = 1;

export function buildDsdt(config: DsdtConfig): Uint8Array {
  const content = [
    scope(
      "_SB",
      ...processors(config.cpus),
      pciRoot(config),
      serialPort(),
      realTimeClock(),
      motherboard(config.ecam),
    ),
    name("_S5", packageOf(integer(SLEEP_TYPE_S5), integer(SLEEP_TYPE_S5), integer(0), integer(0))),
  ];
  return buildTable("DSDT", REVISION, new Uint8Array(join(...content)));
}

function processors(cpus: number): Aml[] {
  return Array.from({ length: cpus }, (_, cpu) =>
    device(
      `C${cpu.toString(16).toUpperCase().padStart(3, "0")}`,
      name("_HID", string("ACPI0007")),
      name("_UID", integer(cpu)),
    ),
  );
}

function pciRoot({ pciWindows, pciWindow64 }: DsdtConfig): Aml {
  const afterConfig = Port.pciConfigData.start + Port.pciConfigData.size;
  return device(
    "PCI0",
    name("_HID", eisaId("PNP0A08")),
    name("_CID", eisaId("PNP0A03")),
    name("_UID", integer(0)),
    name("_SEG", integer(0)),
    name("_BBN", integer(0)),
    name(
      "_CRS",
      resourceTemplate(
        busWindow({ start: 0, size: PCI_BUSES }),
        // The bridge's own configuration ports lie between the two windows of ports.
        ioPorts({ start: Port.pciConfigAddress.start, size: afterConfig - Port.pciConfigAddress.start }),
        ioWindow({ start: 0, size: Port.pciConfigAddress.start }),
        ioWindow({ start: afterConfig, size: 0x1_0000 - afterConfig }),
        ...pciWindows.map(memoryWindow),
        ...(pciWindow64 === null ? [] : [memoryWindow(pciWindow64)]),
      ),
    ),
    name("_PRT", packageOf(...interruptRouting())),
    operatingSystemCapabilities(),
  );
}

/** One entry for each slot's INTA, no function having another: address, pin, no link device, global system interrupt. */
function interruptRouting(): Aml[] {
  return Array.from({ length: PCI_SLOTS }, (_, slot) => {
    const address = integer(slot * 0x1_0000 + ANY_FUNCTION);
    return packageOf(address, integer(INTA), integer(0), integer(pciInterrupt(slot, INTA)));
  });
}

/** Grants the guest all it asks for: there is no firmware that would use any of it itself. */
function operatingSystemCapabilities(): Aml {
  const status = path("CDW1");
  return serializedMethod(
    "_OSC",
    4,
    createDWordField(argument(3), 0, "CDW1"),
    ifThen(
      equal(argument(0), buffer(uuidBytes(OSC_PCI_UUID))),
      ifThen(
        not(equal(argument(1), integer(OSC_REVISION))),
        or(status, integer(OscStatus.UnrecognizedRevision), status),
      ),
    ),
    otherwise(or(status, integer(OscStatus.UnrecognizedUuid), status)),
    returns(argument(3)),
  );
}

function serialPort(): Aml {
  return device(
    "COM1",
    name("_HID", eisaId("PNP0501")),
    name("_UID", integer(1)),
    name("_CRS", resourceTemplate(ioPorts(Port.com1), isaInterrupt(Gsi.com1))),
  );
}

function realTimeClock(): Aml {
  return device(
    "RTC",
    name("_HID", eisaId("PNP0B00")),
    name("_CRS", resourceTemplate(ioPorts(Port.rtc), isaInterrupt(Gsi.rtc))),
  );
}

function motherboard(ecam: Range): Aml {
  return device("MBRD", name("_HID", eisaId("PNP0C02")), name("_CRS", resourceTemplate(fixedMemory(ecam))));
}
