/** What all ACPI tables share: the header, the checksum, the generic address. */
import { ascii, packed, u8, u32, u64 } from "../../base/layout.ts";

export const TableHeader = packed("DESCRIPTION_HEADER", "ACPI 6.5, 5.2.6", {
  signature: ascii(4),
  length: u32,
  revision: u8,
  checksum: u8,
  oem_id: ascii(6),
  oem_table_id: ascii(8),
  oem_revision: u32,
  creator_id: ascii(4),
  creator_revision: u32,
});

export const GenericAddress = packed("Generic Address Structure", "ACPI 6.5, 5.2.3.2", {
  address_space_id: u8,
  register_bit_width: u8,
  register_bit_offset: u8,
  access_size: u8,
  address: u64,
});

export const AddressSpace = { SystemMemory: 0, SystemIo: 1 } as const;
/** Access sizes of a generic address; 0 leaves it to the register's width. */
export const AccessSize = { Undefined: 0, Byte: 1, Word: 2, DWord: 3 } as const;

export const OEM_ID = "THIMBL";
const OEM_TABLE_ID = "THIMBLE";
const CREATOR_ID = "THMB";

/** A table: header in front of `body`, length and checksum right. */
export function buildTable(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const table = new Uint8Array(TableHeader.size + body.length);
  TableHeader.patch(table, 0, {
    signature,
    length: table.length,
    revision,
    oem_id: OEM_ID,
    oem_table_id: OEM_TABLE_ID,
    oem_revision: 1,
    creator_id: CREATOR_ID,
    creator_revision: 1,
  });
  table.set(body, TableHeader.size);
  table[TableHeader.offset.checksum] = checksum(table);
  return table;
}

/** The byte that makes the sum of all bytes zero. */
export function checksum(data: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i] as number;
  return -sum & 0xff;
}

/** Several pieces as one. */
export function concatenate(pieces: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(pieces.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
