/** What guest firmware is told of its machine through the firmware configuration device. */
import { packed, u16, u32, u64 } from "../../base/layout.ts";
import type { LoaderFiles } from "../acpi/loader.ts";
import type { AcpiConfig } from "../acpi/tables.ts";
import { MemoryType } from "../boot/memory-map.ts";
import { FwCfgKey } from "../devices/fw-cfg/bits.ts";
import type { FwCfg } from "../devices/fw-cfg/fw-cfg.ts";
import { PCIEXBAR_WINDOW_BYTES } from "../devices/q35/bits.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { startPart } from "../parts.ts";
import { FirmwareLayout, Mmio, type Range } from "../platform.ts";
import { placeOf } from "../virtio-devices.ts";

export interface FirmwareFacts {
  /** The VM's. */
  readonly name: string;
  readonly cpus: number;
  readonly memory: GuestMemory;
  readonly pciWindow64: Range | null;
  /** Where the guest has put PCI Express configuration space; null when nowhere. */
  readonly ecamStart: () => number | null;
  /** Devices to boot from, first to last: "disk0", "network1". */
  readonly bootOrder: readonly string[];
}

const E820Entry = packed("E820 entry", "ACPI 6.5, 15.4", { address: u64, length: u64, type: u32 });
const U16 = packed("16 bits", "QEMU fw_cfg", { value: u16 });
const U64 = packed("64 bits", "QEMU fw_cfg", { value: u64 });

/** Sleep states (QEMU's etc/system-states): bit 7 says that one is there. S0, then S5; no S3, no S4. */
const SYSTEM_STATES = [0x80, 0, 0, 1, 2, 0x80];
/** Where configuration space is taken to be while the guest has not enabled it; then nobody reads the tables either. */
const ECAM_DEFAULT = 0xe000_0000;
/** The tables' file is padded to this: its size is told before the windows are known. */
const TABLES_STEP = 4096;

export function addFirmwareFiles(fwCfg: FwCfg, facts: FirmwareFacts): void {
  const { cpus, memory, bootOrder } = facts;
  addMachineItems(fwCfg, cpus, memory);
  fwCfg.addFile("etc/e820", memoryMap(memory));
  fwCfg.addFile("etc/system-states", Uint8Array.from(SYSTEM_STATES));
  if (bootOrder.length > 0) fwCfg.addFile("bootorder", bootOrderFile(bootOrder));
  const smbios = startPart().buildSmbios(facts.name);
  fwCfg.addFile("etc/smbios/smbios-anchor", smbios.anchor);
  fwCfg.addFile("etc/smbios/smbios-tables", smbios.tables);
  addTables(fwCfg, facts);
}

/** How much there is of what every machine has. */
export function addMachineItems(fwCfg: FwCfg, cpus: number, memory: GuestMemory): void {
  fwCfg.add(FwCfgKey.ramSize, U64.encode({ value: memory.sizeBytes }));
  fwCfg.add(FwCfgKey.cpuCount, U16.encode({ value: cpus }));
  fwCfg.add(FwCfgKey.maxCpus, U16.encode({ value: cpus }));
}

/** RAM as it is, without the holes of a PC below 1 MiB: firmware makes those itself. */
function memoryMap(memory: GuestMemory): Uint8Array {
  const entries = memory.regions.map(({ start, sizeBytes }) => ({
    address: start as number,
    length: sizeBytes,
    type: MemoryType.Ram as number,
  }));
  entries.push({
    address: Mmio.kvmIdentityMap.start,
    length: Mmio.kvmIdentityMap.size + Mmio.kvmTss.size,
    type: MemoryType.Reserved,
  });
  const out = new Uint8Array(entries.length * E820Entry.size);
  entries.forEach((entry, i) => {
    E820Entry.patch(out, i * E820Entry.size, entry);
  });
  return out;
}

/** Open Firmware device paths, one a line, ended by a zero: QEMU's docs/bootindex. */
function bootOrderFile(order: FirmwareFacts["bootOrder"]): Uint8Array {
  const lines = order.map((device) => {
    const { place, unit } = placeOf(device);
    if (device.startsWith("network")) return `/pci@i0cf8/ethernet@${place}/ethernet-phy@0`;
    // A unit behind a host adapter has a channel before it.
    return `/pci@i0cf8/scsi@${place}/${device.startsWith("cdrom") ? `channel@0/disk@${unit}` : "disk@0"},0`;
  });
  return Uint8Array.from(`${lines.join("\n")}\0`, (c) => c.charCodeAt(0));
}

/**
 * The ACPI tables are made when firmware first asks for one of them: by then it has decided where configuration space
 * and the windows of PCI are, and the tables say so.
 */
function addTables(fwCfg: FwCfg, facts: FirmwareFacts): void {
  const { buildLoaderFiles, LOADER_FILE, RSDP_FILE, TABLES_FILE } = startPart();
  let made: LoaderFiles | null = null;
  const files = () => {
    made ??= buildLoaderFiles(acpiConfig(facts, facts.ecamStart() ?? ECAM_DEFAULT));
    return made;
  };
  const model = buildLoaderFiles(acpiConfig(facts, ECAM_DEFAULT));
  const tablesSize = Math.ceil((model.tables.length + 1) / TABLES_STEP) * TABLES_STEP;
  fwCfg.addFile(
    TABLES_FILE,
    () => {
      const out = new Uint8Array(tablesSize);
      out.set(files().tables);
      return out;
    },
    tablesSize,
  );
  fwCfg.addFile(RSDP_FILE, () => files().rsdp, model.rsdp.length);
  fwCfg.addFile(LOADER_FILE, () => files().loader, model.loader.length);
}

/** The machine as the guest has laid it out. Two windows at most, as in the model whose size was told. */
function acpiConfig(facts: FirmwareFacts, ecamStart: number): AcpiConfig {
  const { pciHoleStart, pciHoleEnd } = FirmwareLayout;
  const ecam = { start: ecamStart, size: PCIEXBAR_WINDOW_BYTES };
  const between = (start: number, end: number) => (end > start ? [{ start, size: end - start }] : []);
  return {
    cpus: facts.cpus,
    ecam,
    pciWindows: [
      ...between(pciHoleStart, Math.min(ecam.start, pciHoleEnd)),
      ...between(Math.max(pciHoleStart, ecam.start + ecam.size), pciHoleEnd),
    ],
    pciWindow64: facts.pciWindow64,
  };
}
