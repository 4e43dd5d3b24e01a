/**
 * The image as a disk, for USB sticks, SD cards, eMMC and M.2 (docs/boot-banks.md):
 *
 *     GPT   1 MiB
 *     1     EFI system partition: the boot selector
 *     2, 3  boot banks A and B
 *     4     state: ext4
 *     GPT   1 MiB
 */
import { createHash } from "node:crypto";
import { mkdtemp, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Guid } from "../firmware/guid.ts";
import { runTool } from "../runtime/tool.ts";
import { buildBank } from "../selector/bank.ts";
import { BANK_BYTES } from "../selector/two-banks.ts";
import { fat32 } from "./fat32.ts";
import { ALIGNMENT_BYTES, type Partition, type Piece, partitionTables, TABLE_BYTES } from "./gpt.ts";

const MiB = 2 ** 20;
/** FAT32 needs 33; firmware may keep updates of its own here. */
const SYSTEM_BYTES = 40 * MiB;
/** The least that mkfs.ext4 makes a file system with a journal in. */
export const STATE_BYTES_MIN = 16 * MiB;

const PartitionType = {
  efiSystem: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
  /** Ours. */
  bootBank: "5B0F6A1E-6D53-4F0B-9C35-9A7C3F2D8E10",
  linux: "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
} as const;
/** Seconds since the epoch: 1 January 2026. */
const FILE_SYSTEM_TIME = "1767225600";

export interface DiskOptions {
  /** What UEFI starts: the boot selector. */
  readonly selector: Uint8Array;
  readonly image: Uint8Array;
  readonly version: string;
  /** Whole MiB, at least STATE_BYTES_MIN. */
  readonly stateBytes: number;
}

/**
 * Writes the disk to `path`, a sparse file. The same options give the same bytes, identifiers included. Errors:
 * `image_does_not_fit`, `build_tool_missing`, `build_tool_failed`; nothing is left behind then.
 */
export async function writeDiskImage(path: string, options: DiskOptions): Promise<{ sizeBytes: number }> {
  const identifier = identifiers(options);
  const { selector, image, version, stateBytes } = options;
  const bank = buildBank(image, version, BANK_BYTES);
  const volumeId = Number.parseInt(identifier("volume").slice(0, 8), 16);
  const parts: readonly (Omit<Partition, "unique" | "startBytes"> & { readonly data: Uint8Array })[] = [
    {
      type: PartitionType.efiSystem,
      name: "EFI system",
      sizeBytes: SYSTEM_BYTES,
      data: fat32(SYSTEM_BYTES, "THIMBLE", volumeId, { "EFI/BOOT/BOOTX64.EFI": selector }),
    },
    { type: PartitionType.bootBank, name: "Thimble bank A", sizeBytes: BANK_BYTES, data: bank },
    { type: PartitionType.bootBank, name: "Thimble bank B", sizeBytes: BANK_BYTES, data: bank },
    {
      type: PartitionType.linux,
      name: "Thimble state",
      sizeBytes: stateBytes,
      data: await ext4(stateBytes, identifier("state file system"), identifier("state hash")),
    },
  ];
  let next = ALIGNMENT_BYTES;
  const pieces: Piece[] = [];
  const partitions = parts.map(({ data, ...rest }): Partition => {
    const startBytes = next;
    next += rest.sizeBytes;
    pieces.push({ atBytes: startBytes, data });
    return { ...rest, startBytes, unique: identifier(rest.name) };
  });
  const sizeBytes = next + TABLE_BYTES;
  pieces.push(...partitionTables(sizeBytes, identifier("disk"), partitions));
  await writeSparse(path, sizeBytes, pieces);
  return { sizeBytes };
}

/** GUIDs that follow from what is on the disk. */
function identifiers({ selector, image, version, stateBytes }: DiskOptions): (name: string) => Guid {
  const content = createHash("sha256")
    .update(selector)
    .update(image)
    .update(`${version}\0${stateBytes}`)
    .digest();
  return (name) => {
    const hash = createHash("sha256").update(content).update(name).digest();
    // Version 8 (made from other things), variant 1 (RFC 9562, 5.8).
    hash[6] = ((hash[6] as number) & 0x0f) | 0x80;
    hash[8] = ((hash[8] as number) & 0x3f) | 0x80;
    const text = hash.subarray(0, 16).toString("hex").toUpperCase();
    return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join(
      "-",
    );
  };
}

/** An empty ext4 file system. */
async function ext4(sizeBytes: number, uuid: Guid, hashSeed: Guid): Promise<Uint8Array> {
  const work = await mkdtemp(join(tmpdir(), "thimble-ext4-"));
  try {
    const file = join(work, "state");
    await writeFile(file, new Uint8Array(sizeBytes));
    const extended = `hash_seed=${hashSeed},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0`;
    const args = ["-q", "-F", "-b", "4096", "-L", "thimble-state", "-U", uuid, "-E", extended, file];
    await runTool("env", [
      `E2FSPROGS_FAKE_TIME=${FILE_SYSTEM_TIME}`,
      `PATH=${process.env.PATH}:/usr/sbin:/sbin`,
      "mkfs.ext4",
      ...args,
    ]);
    return await readFile(file);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Writes pieces that are not zero; what is between them stays a hole. The file is there whole or not at all. */
async function writeSparse(path: string, sizeBytes: number, pieces: readonly Piece[]): Promise<void> {
  const partial = `${path}.partial-${process.pid}`;
  try {
    const file = await open(partial, "w");
    try {
      await file.truncate(sizeBytes);
      for (const { atBytes, data } of pieces) {
        for (let at = 0; at < data.length; at += MiB) {
          const part = data.subarray(at, at + MiB);
          if (part.some((byte) => byte !== 0)) await file.write(part, 0, part.length, atBytes + at);
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}
