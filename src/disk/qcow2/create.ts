/** Makes empty qcow2 images, version 3. */
import { ThimbleError } from "../../base/errors.ts";
import type { ImageFile } from "../image-file.ts";
import {
  BACKING_NAME_MAX,
  ENTRY_BYTES,
  Extension,
  ExtensionHeader,
  HeaderV2,
  HeaderV3,
  L1_BYTES_MAX,
  QCOW2_MAGIC,
  REFCOUNT_ORDER,
} from "./bits.ts";
import { roundUp } from "./header.ts";

/** QEMU's choice, too. */
const CLUSTER_BITS = 16;
const SECTOR = 512;

export interface CreateOptions {
  /** Of the disk: a multiple of 512. */
  readonly sizeBytes: number;
  /** 9 to 21; 16 by default. */
  readonly clusterBits?: number;
  /** The name that the image gives for its backing file, and that file's format. */
  readonly backing?: { readonly name: string; readonly format: "raw" | "qcow2" };
}

/**
 * Writes an empty image into an empty file: header, refcount table, one block, L1 table, in this order. Throws
 * ThimbleError("bad_size") for a disk that clusters of this size cannot make.
 */
export function createQcow2(file: ImageFile, options: CreateOptions): void {
  const { sizeBytes, clusterBits = CLUSTER_BITS, backing } = options;
  const clusterBytes = 2 ** clusterBits;
  const l1Entries = Math.ceil(sizeBytes / (clusterBytes * (clusterBytes / ENTRY_BYTES)));
  const l1Clusters = Math.ceil((l1Entries * ENTRY_BYTES) / clusterBytes);
  if (sizeBytes % SECTOR !== 0 || l1Entries * ENTRY_BYTES > L1_BYTES_MAX) {
    throw new ThimbleError(
      "bad_size",
      `A qcow2 image with clusters of ${clusterBytes} bytes cannot have ${sizeBytes} bytes.`,
    );
  }
  // All that is there is counted by as many blocks as it takes, themselves included.
  const perBlock = clusterBytes / 2 ** (REFCOUNT_ORDER - 3);
  let blocks = 1;
  let tableClusters = 1;
  let total = 0;
  for (;;) {
    total = 1 + tableClusters + blocks + l1Clusters;
    const needed = Math.ceil(total / perBlock);
    const tableNeeded = Math.ceil((needed * ENTRY_BYTES) / clusterBytes);
    if (needed <= blocks && tableNeeded <= tableClusters) break;
    blocks = Math.max(blocks, needed);
    tableClusters = Math.max(tableClusters, tableNeeded);
  }
  const blocksAt = (1 + tableClusters) * clusterBytes;
  const l1At = blocksAt + blocks * clusterBytes;
  const table = new Uint8Array(tableClusters * clusterBytes);
  const tableView = new DataView(table.buffer);
  for (let i = 0; i < blocks; i++) tableView.setUint32(i * ENTRY_BYTES + 4, blocksAt + i * clusterBytes);
  const counts = new Uint8Array(blocks * clusterBytes);
  for (let cluster = 0; cluster < total; cluster++) new DataView(counts.buffer).setUint16(2 * cluster, 1);
  file.truncate(0);
  file.writeAt(clusterBytes, table);
  file.writeAt(blocksAt, counts);
  if (l1Clusters > 0) file.writeAt(l1At, new Uint8Array(l1Clusters * clusterBytes));
  file.flush();
  file.writeAt(0, header({ sizeBytes, clusterBits, l1Entries, l1At, tableClusters, backing }));
  file.flush();
}

function header(of: {
  sizeBytes: number;
  clusterBits: number;
  l1Entries: number;
  l1At: number;
  tableClusters: number;
  backing: CreateOptions["backing"];
}): Uint8Array {
  const { backing } = of;
  const clusterBytes = 2 ** of.clusterBits;
  const bytes = new Uint8Array(clusterBytes);
  const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
  let at = HeaderV2.size + HeaderV3.size;
  const place = { offset: 0, size: 0 };
  if (backing !== undefined) {
    const format = ascii(backing.format);
    ExtensionHeader.patch(bytes, at, { type: Extension.backingFormat, length: format.length });
    bytes.set(format, at + ExtensionHeader.size);
    at += ExtensionHeader.size + roundUp(format.length, 8);
    // The end of the extensions is zeroes.
    at += ExtensionHeader.size;
    const name = ascii(backing.name);
    if (name.length > BACKING_NAME_MAX || at + name.length > clusterBytes) {
      throw new ThimbleError(
        "bad_name",
        `The name of the backing file has ${name.length} bytes, which is too long.`,
      );
    }
    bytes.set(name, at);
    place.offset = at;
    place.size = name.length;
  }
  HeaderV2.patch(bytes, 0, {
    magic: QCOW2_MAGIC,
    version: 3,
    backing_file_offset: place.offset,
    backing_file_size: place.size,
    cluster_bits: of.clusterBits,
    size: of.sizeBytes,
    l1_size: of.l1Entries,
    l1_table_offset: of.l1At,
    refcount_table_offset: clusterBytes,
    refcount_table_clusters: of.tableClusters,
  });
  HeaderV3.patch(bytes, HeaderV2.size, {
    refcount_order: REFCOUNT_ORDER,
    header_length: HeaderV2.size + HeaderV3.size,
  });
  return bytes;
}
