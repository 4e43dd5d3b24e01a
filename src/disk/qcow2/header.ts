/** The header of a qcow2 image: outside bytes become checked values here, and nowhere else. */
import { ThimbleError } from "../../base/errors.ts";
import type { ImageFile } from "../image-file.ts";
import {
  BACKING_NAME_MAX,
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  ENTRY_BYTES,
  Extension,
  ExtensionHeader,
  HeaderV2,
  HeaderV3,
  Incompatible,
  L1_BYTES_MAX,
  QCOW2_MAGIC,
  REFCOUNT_ORDER,
  REFCOUNT_ORDER_MAX,
  REFCOUNT_TABLE_BYTES_MAX,
} from "./bits.ts";

/** Extensions of all kinds; an image made by others has a handful. */
const EXTENSIONS_MAX = 64;
const FORMAT_NAME_MAX = 16;
const SIZE_MAX = 2 ** 50;

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly sizeBytes: number;
  readonly clusterBits: number;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly refcountOffset: number;
  readonly refcountClusters: number;
  /** Reference counts have 2^order bits. */
  readonly refcountOrder: number;
  readonly incompatible: number;
  readonly snapshots: number;
  readonly snapshotsOffset: number;
  /** What the image says its backing file is called, and of what format; null without one. Not to be trusted. */
  readonly backing: { readonly name: string; readonly format: string | null } | null;
}

export function badImage(what: string): ThimbleError {
  return new ThimbleError("bad_image", `This is not a qcow2 image that can be used: ${what}.`);
}

/** Reads the header. Throws ThimbleError("bad_image") with the reason. */
export function readHeader(file: ImageFile): Qcow2Header {
  const bytes = new Uint8Array(HeaderV2.size + HeaderV3.size);
  file.readAt(0, bytes);
  const old = HeaderV2.decode(bytes);
  if (old.magic !== QCOW2_MAGIC) throw badImage("it does not begin as one");
  if (old.version !== 2 && old.version !== 3) throw badImage(`version ${old.version} is not known`);
  const added = old.version === 3 ? HeaderV3.decode(bytes, HeaderV2.size) : null;
  const clusterBits = old.cluster_bits;
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX) {
    throw badImage(`clusters of 2^${clusterBits} bytes`);
  }
  const clusterBytes = 2 ** clusterBits;
  const incompatible = added?.incompatible_features ?? 0;
  if ((added?.incompatible_features_high ?? 0) !== 0 || (incompatible & ~Incompatible.dirty) !== 0) {
    throw badImage(unsupported(incompatible));
  }
  if (old.crypt_method !== 0) throw badImage("it is encrypted");
  if (old.size > SIZE_MAX) throw badImage(`a disk of ${old.size} bytes`);
  const refcountOrder = added?.refcount_order ?? REFCOUNT_ORDER;
  if (refcountOrder > REFCOUNT_ORDER_MAX) throw badImage(`reference counts of 2^${refcountOrder} bits`);
  const l1Needed = Math.ceil(old.size / (clusterBytes * (clusterBytes / ENTRY_BYTES)));
  if (old.l1_size * ENTRY_BYTES > L1_BYTES_MAX || old.l1_size < l1Needed) {
    throw badImage(`an L1 table of ${old.l1_size} entries`);
  }
  const refcountBytes = old.refcount_table_clusters * clusterBytes;
  if (refcountBytes === 0 || refcountBytes > REFCOUNT_TABLE_BYTES_MAX) {
    throw badImage(`a reference count table of ${old.refcount_table_clusters} clusters`);
  }
  for (const [what, offset, length] of [
    ["the L1 table", old.l1_table_offset, old.l1_size * ENTRY_BYTES],
    ["the reference count table", old.refcount_table_offset, refcountBytes],
  ] as const) {
    if (
      offset % clusterBytes !== 0 ||
      (length > 0 && offset + length > roundUp(file.sizeBytes, clusterBytes))
    ) {
      throw badImage(`${what} is not inside the file`);
    }
  }
  const headerLength = added?.header_length ?? HeaderV2.size;
  if (headerLength < HeaderV2.size || headerLength > clusterBytes)
    throw badImage("a header of impossible length");
  const format = backingFormat(file, headerLength, clusterBytes);
  return {
    version: old.version,
    sizeBytes: old.size,
    clusterBits,
    l1Entries: old.l1_size,
    l1Offset: old.l1_table_offset,
    refcountOffset: old.refcount_table_offset,
    refcountClusters: old.refcount_table_clusters,
    refcountOrder,
    incompatible,
    snapshots: old.nb_snapshots,
    snapshotsOffset: old.snapshots_offset,
    backing: readBacking(file, old.backing_file_offset, old.backing_file_size, clusterBytes, format),
  };
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

function unsupported(incompatible: number): string {
  if (incompatible & Incompatible.corrupt) return "it is marked as corrupt";
  if (incompatible & Incompatible.externalDataFile) return "its data are in another file";
  if (incompatible & Incompatible.compressionType) return "it is compressed otherwise than with deflate";
  if (incompatible & Incompatible.extendedL2) return "it has subclusters";
  return "it has features that are not known";
}

function readBacking(
  file: ImageFile,
  offset: number,
  length: number,
  clusterBytes: number,
  format: string | null,
): Qcow2Header["backing"] {
  if (offset === 0 || length === 0) return null;
  if (length > BACKING_NAME_MAX || offset + length > clusterBytes)
    throw badImage("a backing file name out of place");
  const bytes = new Uint8Array(length);
  file.readAt(offset, bytes);
  return { name: latin(bytes), format };
}

/** What the extension of that name says; null without one. */
function backingFormat(file: ImageFile, start: number, end: number): string | null {
  const head = new Uint8Array(ExtensionHeader.size);
  let at = start;
  for (let i = 0; i < EXTENSIONS_MAX && at + ExtensionHeader.size <= end; i++) {
    file.readAt(at, head);
    const { type, length } = ExtensionHeader.decode(head);
    if (type === Extension.end) return null;
    at += ExtensionHeader.size;
    if (at + length > end) throw badImage("a header extension that goes beyond the header");
    if (type === Extension.backingFormat) {
      if (length > FORMAT_NAME_MAX) throw badImage("a backing format of impossible length");
      const name = new Uint8Array(length);
      file.readAt(at, name);
      return latin(name);
    }
    at += roundUp(length, 8);
  }
  return null;
}

function latin(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
