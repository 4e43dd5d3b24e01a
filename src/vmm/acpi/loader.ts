/**
 * The ACPI tables for guest firmware, which places them itself.
 *
 * The tables come as two files, the RSDP and all others, with pointers that hold offsets into the second file; a third
 * file is a list of commands: where to allocate the files, which pointers to add an address to, which checksums to make
 * after that (QEMU's table loader, which OVMF and SeaBIOS follow).
 */

import { MiB } from "../../base/addresses.ts";
import { ascii, packed, u8, u32 } from "../../base/layout.ts";
import { FadtBody } from "./fadt.ts";
import { Rsdp } from "./rsdp.ts";
import { TableHeader } from "./table.ts";
import { type AcpiConfig, layoutAcpiTables, type PlacedTable } from "./tables.ts";

export const TABLES_FILE = "etc/acpi/tables";
export const RSDP_FILE = "etc/acpi/rsdp";
export const LOADER_FILE = "etc/table-loader";

const FILE_NAME = ascii(56);
const COMMAND_SIZE = 128;
const Command = { allocate: 1, addPointer: 2, addChecksum: 3 } as const;
const Zone = { high: 1, lowFirmware: 2 } as const;

export const AllocateCommand = packed("ALLOCATE", "QEMU table loader", {
  command: u32,
  file: FILE_NAME,
  align: u32,
  zone: u8,
});
export const AddPointerCommand = packed("ADD_POINTER", "QEMU table loader", {
  command: u32,
  file: FILE_NAME,
  pointedTo: FILE_NAME,
  offset: u32,
  size: u8,
});
export const AddChecksumCommand = packed("ADD_CHECKSUM", "QEMU table loader", {
  command: u32,
  file: FILE_NAME,
  offset: u32,
  start: u32,
  length: u32,
});

export interface LoaderFiles {
  readonly tables: Uint8Array;
  readonly rsdp: Uint8Array;
  readonly loader: Uint8Array;
}

const TABLES_MAX = MiB;
const TABLES_ALIGN = 64;
const RSDP_ALIGN = 16;
/** The checksum of ACPI 1.0 covers what there was then. */
const RSDP_VERSION_1_BYTES = 20;

/** Makes the three files. Their sizes depend on the number of CPUs and of windows alone. */
export function buildLoaderFiles(config: AcpiConfig): LoaderFiles {
  const [rsdp, xsdt, ...others] = layoutAcpiTables(config, { start: 0, size: TABLES_MAX });
  if (rsdp === undefined || xsdt === undefined) throw new RangeError("no tables");
  const placed = [xsdt, ...others];
  const tables = new Uint8Array(Math.max(...placed.map(({ address, bytes }) => address + bytes.length)));
  for (const { address, bytes } of placed) tables.set(bytes, address);
  const root = rsdp.bytes.slice();

  const commands = [
    AllocateCommand.encode({
      command: Command.allocate,
      file: RSDP_FILE,
      align: RSDP_ALIGN,
      zone: Zone.lowFirmware,
    }),
    AllocateCommand.encode({
      command: Command.allocate,
      file: TABLES_FILE,
      align: TABLES_ALIGN,
      zone: Zone.high,
    }),
  ];
  const pointer = (file: string, offset: number, size: number) =>
    commands.push(
      AddPointerCommand.encode({
        command: Command.addPointer,
        file,
        pointedTo: TABLES_FILE,
        offset,
        size,
      }),
    );
  // The sum is made over the byte that takes it too, so that is zero before.
  const checksum = (file: string, bytes: Uint8Array, offset: number, start: number, length: number) => {
    bytes[offset] = 0;
    commands.push(AddChecksumCommand.encode({ command: Command.addChecksum, file, offset, start, length }));
  };
  const tableChecksum = ({ address, bytes }: PlacedTable) =>
    checksum(TABLES_FILE, tables, address + TableHeader.offset.checksum, address, bytes.length);

  const fadt = others.find(({ bytes }) => String.fromCharCode(...bytes.subarray(0, 4)) === "FACP");
  if (fadt !== undefined) {
    const fields = fadt.address + TableHeader.size;
    pointer(TABLES_FILE, fields + FadtBody.offset.firmware_ctrl, 4);
    pointer(TABLES_FILE, fields + FadtBody.offset.dsdt, 4);
    pointer(TABLES_FILE, fields + FadtBody.offset.x_dsdt, 8);
    tableChecksum(fadt);
  }
  for (let at = TableHeader.size; at < xsdt.bytes.length; at += 8) {
    pointer(TABLES_FILE, xsdt.address + at, 8);
  }
  tableChecksum(xsdt);
  pointer(RSDP_FILE, Rsdp.offset.xsdt_address, 8);
  checksum(RSDP_FILE, root, Rsdp.offset.checksum, 0, RSDP_VERSION_1_BYTES);
  checksum(RSDP_FILE, root, Rsdp.offset.extended_checksum, 0, Rsdp.size);

  const loader = new Uint8Array(commands.length * COMMAND_SIZE);
  commands.forEach((command, i) => {
    loader.set(command, i * COMMAND_SIZE);
  });
  return { tables, rsdp: root, loader };
}
