/**
 * SMBIOS structures: what the machine is called. Guest firmware gets them as files, adds those of its own and the
 * tables' final place; a machine without firmware has them in low memory.
 */
import { ascii, bytes, packed, u8, u16, u32, u64 } from "../../base/layout.ts";
import { checksum, concatenate } from "../acpi/table.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { LowMemory } from "../platform.ts";

const EntryPoint = packed("SMBIOS 3.0 entry point", "SMBIOS 3.6, 5.2.2", {
  anchor: ascii(5),
  checksum: u8,
  length: u8,
  major: u8,
  minor: u8,
  docRevision: u8,
  revision: u8,
  reserved: u8,
  tableSizeMax: u32,
  tableAddress: u64,
});

const header = { type: u8, length: u8, handle: u16 };
/** Numbers of strings that follow the structure, from 1; 0 for none. */
const SystemInformation = packed("System Information", "SMBIOS 3.6, 7.2", {
  ...header,
  manufacturer: u8,
  productName: u8,
  version: u8,
  serialNumber: u8,
  uuid: bytes(16),
  wakeUpType: u8,
  skuNumber: u8,
  family: u8,
});
const Enclosure = packed("System Enclosure", "SMBIOS 3.6, 7.4", {
  ...header,
  manufacturer: u8,
  enclosureType: u8,
  version: u8,
  serialNumber: u8,
  assetTag: u8,
  bootUpState: u8,
  powerSupplyState: u8,
  thermalState: u8,
  securityStatus: u8,
  oemDefined: u32,
  height: u8,
  powerCords: u8,
  elementCount: u8,
  elementLength: u8,
  skuNumber: u8,
});
const EndOfTable = packed("End-of-Table", "SMBIOS 3.6, 7.45", header);

const Type = { system: 1, enclosure: 3, end: 127 } as const;
const ENCLOSURE_OTHER = 1;
const STATE_SAFE = 3;
const SECURITY_NONE = 3;
const WAKE_UP_POWER_SWITCH = 6;

export interface SmbiosFiles {
  readonly anchor: Uint8Array;
  readonly tables: Uint8Array;
}

/**
 * `name` is the VM's, which guests show as the serial number. `tableAddress` is where the tables will be; zero where
 * firmware decides.
 */
export function buildSmbios(name: string, tableAddress = 0): SmbiosFiles {
  const tables = concatenate([
    SystemInformation.encode({
      type: Type.system,
      length: SystemInformation.size,
      handle: 0x100,
      manufacturer: 1,
      productName: 2,
      serialNumber: 3,
      wakeUpType: WAKE_UP_POWER_SWITCH,
    }),
    strings("Thimble", "Virtual Machine", name),
    Enclosure.encode({
      type: Type.enclosure,
      length: Enclosure.size,
      handle: 0x300,
      manufacturer: 1,
      enclosureType: ENCLOSURE_OTHER,
      bootUpState: STATE_SAFE,
      powerSupplyState: STATE_SAFE,
      thermalState: STATE_SAFE,
      securityStatus: SECURITY_NONE,
    }),
    strings("Thimble"),
    EndOfTable.encode({ type: Type.end, length: EndOfTable.size, handle: 0x7f00 }),
    strings(),
  ]);
  const anchor = EntryPoint.encode({
    anchor: "_SM3_",
    length: EntryPoint.size,
    major: 3,
    minor: 6,
    revision: 1,
    tableSizeMax: tables.length,
    tableAddress,
  });
  anchor[EntryPoint.offset.checksum] = checksum(anchor);
  return { anchor, tables };
}

/** Puts entry point and tables where guests without firmware look for them (SMBIOS 3.6, 5.2.2). */
export function placeSmbios(memory: GuestMemory, name: string): void {
  const { start } = LowMemory.smbios;
  const tablesAt = start + EntryPoint.size;
  const { anchor, tables } = buildSmbios(name, tablesAt);
  memory.write(start, anchor);
  memory.write(tablesAt, tables);
}

/** Each ended by a zero, all ended by one more; two zeroes when there is none. What is not ASCII becomes "?". */
function strings(...texts: string[]): Uint8Array {
  const all = texts.map((text) => `${text.replace(/[^ -~]/g, "?")}\0`).join("");
  return Uint8Array.from(all === "" ? "\0\0" : `${all}\0`, (c) => c.charCodeAt(0));
}
