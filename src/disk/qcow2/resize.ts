/** Makes the disk of a qcow2 image larger. */
import { ThimbleError } from "../../base/errors.ts";
import type { ImageFile } from "../image-file.ts";
import { ENTRY_BYTES, HeaderV2, L1_BYTES_MAX } from "./bits.ts";
import { readHeader } from "./header.ts";
import { Qcow2Image } from "./image.ts";
import { Refcounts } from "./refcounts.ts";

const SECTOR = 512;
const REFCOUNT_CACHE_BYTES = 256 * 1024;

/**
 * Changes an image that nobody has open; a power cut leaves the old size or the new one. Throws ThimbleError:
 * "bad_size" for a smaller or impossible size, "bad_image".
 */
export function growQcow2(file: ImageFile, sizeBytes: number): void {
  makeClean(file);
  const header = readHeader(file);
  if (sizeBytes % SECTOR !== 0)
    throw new ThimbleError("bad_size", `A disk of ${sizeBytes} bytes has no whole sectors.`);
  if (sizeBytes < header.sizeBytes) {
    throw new ThimbleError(
      "bad_size",
      `The disk has ${header.sizeBytes} bytes, and does not become smaller.`,
    );
  }
  const clusterBytes = 2 ** header.clusterBits;
  const needed = Math.ceil(sizeBytes / (clusterBytes * (clusterBytes / ENTRY_BYTES)));
  if (needed * ENTRY_BYTES > L1_BYTES_MAX) {
    throw new ThimbleError(
      "bad_size",
      `Clusters of ${clusterBytes} bytes cannot make a disk of ${sizeBytes} bytes.`,
    );
  }
  const bytes = new Uint8Array(HeaderV2.size);
  file.readAt(0, bytes);
  if (needed > header.l1Entries) moveL1(file, bytes, needed);
  HeaderV2.patch(bytes, 0, { size: sizeBytes });
  file.writeAt(0, bytes);
  file.flush();
}

/** An image that was not closed in order has its counts made anew. */
function makeClean(file: ImageFile): void {
  if (readHeader(file).incompatible !== 0) new Qcow2Image(file, { tablesOnly: true }).finish();
}

/** A longer L1 table at the file's end, counted before the header names it. */
function moveL1(file: ImageFile, headerBytes: Uint8Array, entries: number): void {
  const header = readHeader(file);
  const clusterBytes = 2 ** header.clusterBits;
  const refcounts = new Refcounts(file, header, REFCOUNT_CACHE_BYTES);
  const clusters = Math.ceil((entries * ENTRY_BYTES) / clusterBytes);
  const offset = refcounts.allocateRun(clusters);
  const l1 = new Uint8Array(clusters * clusterBytes);
  file.readAt(header.l1Offset, l1.subarray(0, header.l1Entries * ENTRY_BYTES));
  file.writeAt(offset, l1);
  refcounts.writeBlocks();
  file.flush();
  refcounts.writeTable();
  file.flush();
  const { place } = refcounts;
  HeaderV2.patch(headerBytes, 0, {
    l1_table_offset: offset,
    l1_size: entries,
    ...(place === null
      ? {}
      : { refcount_table_offset: place.offset, refcount_table_clusters: place.clusters }),
  });
  file.writeAt(0, headerBytes);
  file.flush();
  if (place !== null) refcounts.placed({ offset: header.refcountOffset, clusters: header.refcountClusters });
  const before = Math.ceil((header.l1Entries * ENTRY_BYTES) / clusterBytes);
  for (let i = 0; i < before; i++) refcounts.change(header.l1Offset / clusterBytes + i, -1);
  refcounts.writeBlocks();
}
