/** The QCOW2 image format by the names of its specification (QEMU, docs/interop/qcow2.txt). */
import { be32, be64, packed } from "../../base/layout.ts";

export const QCOW2_MAGIC = 0x5146_49fb;

/** Fields that version 2 has too. */
export const HeaderV2 = packed("qcow2 header", "qcow2.txt, Header", {
  magic: be32,
  version: be32,
  backing_file_offset: be64,
  backing_file_size: be32,
  cluster_bits: be32,
  size: be64,
  crypt_method: be32,
  l1_size: be32,
  l1_table_offset: be64,
  refcount_table_offset: be64,
  refcount_table_clusters: be32,
  nb_snapshots: be32,
  snapshots_offset: be64,
});

/** What follows it in version 3. Features are two dwords: no bit above 31 is known. */
export const HeaderV3 = packed("qcow2 header, version 3", "qcow2.txt, Header", {
  incompatible_features_high: be32,
  incompatible_features: be32,
  compatible_features_high: be32,
  compatible_features: be32,
  autoclear_features_high: be32,
  autoclear_features: be32,
  refcount_order: be32,
  header_length: be32,
});

export const Incompatible = {
  dirty: 1 << 0,
  corrupt: 1 << 1,
  externalDataFile: 1 << 2,
  compressionType: 1 << 3,
  extendedL2: 1 << 4,
} as const;

export const ExtensionHeader = packed("header extension", "qcow2.txt, Header extensions", {
  type: be32,
  length: be32,
});
export const Extension = { end: 0, backingFormat: 0xe279_2aca } as const;

/** Entries of L1 and L2 tables as two dwords, high first. */
export const ENTRY_BYTES = 8;
/** In the high dword: the cluster's reference count is exactly one. */
export const COPIED = 0x8000_0000;
/** In the high dword of an L2 entry: a compressed cluster. */
export const COMPRESSED = 0x4000_0000;
/** In the low dword of an L2 entry: reads as zeroes. */
export const ALL_ZEROES = 1;
/** Bits 9 to 55 are an offset. */
export const OFFSET_HIGH_MASK = 0x00ff_ffff;
export const OFFSET_LOW_MASK = 0xffff_fe00;

/** Limits: what QEMU takes, too. */
export const CLUSTER_BITS_MIN = 9;
export const CLUSTER_BITS_MAX = 21;
export const L1_BYTES_MAX = 32 * 1024 * 1024;
export const REFCOUNT_TABLE_BYTES_MAX = 8 * 1024 * 1024;
export const BACKING_NAME_MAX = 1023;
export const REFCOUNT_ORDER_MAX = 6;
/** Images are written with counts of 16 bits. */
export const REFCOUNT_ORDER = 4;
