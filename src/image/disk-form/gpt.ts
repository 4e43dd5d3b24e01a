/** A GUID partition table with its protective MBR and its second copy at the end (UEFI 2.10, chapter 5). */
import { crc32 } from "node:zlib";
import { ascii, bytes, packed, u8, u32, u64 } from "../../base/layout.ts";
import { type Guid, guid } from "../firmware/guid.ts";

export const BLOCK_BYTES = 512;
/** Partitions begin and end at multiples of this, which every drive's own blocks divide. */
export const ALIGNMENT_BYTES = 2 ** 20;

const MbrPartition = packed("MBR partition record", "UEFI 2.10, 5.2.1", {
  bootIndicator: u8,
  startingChs: bytes(3),
  osType: u8,
  endingChs: bytes(3),
  startingLba: u32,
  sizeInLba: u32,
});
const MBR_PARTITIONS_AT = 446;
const MBR_SIGNATURE_AT = 510;
const MBR_SIGNATURE = [0x55, 0xaa];
/** Of the protective partition. */
const OS_TYPE_GPT = 0xee;
const PROTECTIVE_CHS = { startingChs: Uint8Array.of(0, 2, 0), endingChs: Uint8Array.of(0xff, 0xff, 0xff) };

const GptHeader = packed("GPT header", "UEFI 2.10, 5.3.2", {
  signature: ascii(8),
  revision: u32,
  headerSize: u32,
  headerCrc32: u32,
  reserved: u32,
  myLba: u64,
  alternateLba: u64,
  firstUsableLba: u64,
  lastUsableLba: u64,
  diskGuid: guid,
  partitionEntryLba: u64,
  numberOfPartitionEntries: u32,
  sizeOfPartitionEntry: u32,
  partitionEntryArrayCrc32: u32,
});
const REVISION_1 = 0x0001_0000;

const NAME_UNITS = 36;
const GptEntry = packed("GPT partition entry", "UEFI 2.10, 5.3.3", {
  partitionTypeGuid: guid,
  uniquePartitionGuid: guid,
  startingLba: u64,
  endingLba: u64,
  attributes: u64,
  partitionName: bytes(2 * NAME_UNITS),
});
const ENTRIES = 128;
const ENTRY_BLOCKS = (ENTRIES * GptEntry.size) / BLOCK_BYTES;

export interface Partition {
  readonly type: Guid;
  readonly unique: Guid;
  readonly name: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
}

/** A piece of a disk and where it belongs. */
export interface Piece {
  readonly atBytes: number;
  readonly data: Uint8Array;
}

/** Behind the last partition, for the second table. */
export const TABLE_BYTES = ALIGNMENT_BYTES;

/** The tables of a disk of `diskBytes`, a multiple of ALIGNMENT_BYTES; partitions lie between its first and its last such piece. */
export function partitionTables(
  diskBytes: number,
  diskGuid: Guid,
  partitions: readonly Partition[],
): Piece[] {
  const blocks = diskBytes / BLOCK_BYTES;
  const entries = new Uint8Array(ENTRIES * GptEntry.size);
  partitions.forEach(({ type, unique, name, startBytes, sizeBytes }, i) => {
    GptEntry.patch(entries, i * GptEntry.size, {
      partitionTypeGuid: type,
      uniquePartitionGuid: unique,
      startingLba: startBytes / BLOCK_BYTES,
      endingLba: (startBytes + sizeBytes) / BLOCK_BYTES - 1,
      partitionName: Buffer.from(name, "utf16le"),
    });
  });
  const header = (myLba: number, alternateLba: number, partitionEntryLba: number): Uint8Array => {
    const out = GptHeader.encode({
      signature: "EFI PART",
      revision: REVISION_1,
      headerSize: GptHeader.size,
      myLba,
      alternateLba,
      firstUsableLba: 2 + ENTRY_BLOCKS,
      lastUsableLba: blocks - 2 - ENTRY_BLOCKS,
      diskGuid,
      partitionEntryLba,
      numberOfPartitionEntries: ENTRIES,
      sizeOfPartitionEntry: GptEntry.size,
      partitionEntryArrayCrc32: crc32(entries),
    });
    GptHeader.patch(out, 0, { headerCrc32: crc32(out) });
    return out;
  };
  const last = blocks - 1;
  return [
    { atBytes: 0, data: protectiveMbr(blocks) },
    { atBytes: BLOCK_BYTES, data: header(1, last, 2) },
    { atBytes: 2 * BLOCK_BYTES, data: entries },
    { atBytes: (last - ENTRY_BLOCKS) * BLOCK_BYTES, data: entries },
    { atBytes: last * BLOCK_BYTES, data: header(last, 1, last - ENTRY_BLOCKS) },
  ];
}

/** For programs that know no GPT: one partition over all of the disk. */
function protectiveMbr(blocks: number): Uint8Array {
  const mbr = new Uint8Array(BLOCK_BYTES);
  MbrPartition.patch(mbr, MBR_PARTITIONS_AT, {
    ...PROTECTIVE_CHS,
    osType: OS_TYPE_GPT,
    startingLba: 1,
    sizeInLba: Math.min(blocks - 1, 0xffff_ffff),
  });
  mbr.set(MBR_SIGNATURE, MBR_SIGNATURE_AT);
  return mbr;
}
