/** Counts how often each cluster of an image is really used, by walking everything that names one. */
import { be16, be32, be64, packed } from "../../base/layout.ts";
import type { ImageFile } from "../image-file.ts";
import { COMPRESSED, ENTRY_BYTES, L1_BYTES_MAX, OFFSET_HIGH_MASK, OFFSET_LOW_MASK } from "./bits.ts";
import { compressedRange } from "./compressed.ts";
import { badImage, type Qcow2Header, roundUp } from "./header.ts";
import type { Refcounts } from "./refcounts.ts";

const HIGH_DWORD = 0x1_0000_0000;
/** 256 MiB of counts: 4 TiB in clusters of 64 KiB. */
const CLUSTERS_MAX = 2 ** 26;
const SNAPSHOTS_MAX = 65_536;

const SnapshotHeader = packed("snapshot table entry", "qcow2.txt, Snapshots", {
  l1_table_offset: be64,
  l1_size: be32,
  id_length: be16,
  name_length: be16,
  date_seconds: be32,
  date_nanoseconds: be32,
  vm_clock: be64,
  vm_state_size: be32,
  extra_data_size: be32,
});

/** Returns the uses by cluster. Throws ThimbleError("bad_image") for an image whose tables lead nowhere. */
export function countReferences(
  file: ImageFile,
  header: Qcow2Header,
  l1: DataView,
  refcounts: Refcounts,
): Uint32Array {
  const clusterBytes = 2 ** header.clusterBits;
  if (refcounts.clusters > CLUSTERS_MAX)
    throw badImage(`${refcounts.clusters} clusters are too many to check`);
  const uses = new Uint32Array(refcounts.clusters);
  const use = (offset: number, length: number): void => {
    if (length === 0) return;
    const first = Math.floor(offset / clusterBytes);
    const last = Math.floor((offset + length - 1) / clusterBytes);
    if (last >= uses.length) throw badImage(`a table names ${offset}, where no cluster is`);
    for (let cluster = first; cluster <= last; cluster++) uses[cluster] = (uses[cluster] as number) + 1;
  };
  const table = new Uint8Array(clusterBytes);
  const tableView = new DataView(table.buffer);
  const useL2 = (offset: number): void => {
    file.readAt(offset, table);
    for (let at = 0; at < clusterBytes; at += ENTRY_BYTES) {
      const high = tableView.getUint32(at);
      const low = tableView.getUint32(at + 4);
      if ((high & COMPRESSED) !== 0) {
        const { offset, length } = compressedRange(header.clusterBits, high, low);
        use(offset, length);
      } else {
        const data = (high & OFFSET_HIGH_MASK) * HIGH_DWORD + ((low & OFFSET_LOW_MASK) >>> 0);
        if (data !== 0) use(data, clusterBytes);
      }
    }
  };
  const useL1 = (view: DataView, offset: number): void => {
    use(offset, view.byteLength);
    for (let at = 0; at < view.byteLength; at += ENTRY_BYTES) {
      const l2 =
        (view.getUint32(at) & OFFSET_HIGH_MASK) * HIGH_DWORD +
        ((view.getUint32(at + 4) & OFFSET_LOW_MASK) >>> 0);
      if (l2 === 0) continue;
      use(l2, clusterBytes);
      useL2(l2);
    }
  };
  use(0, 1);
  for (const offset of refcounts.ownClusters()) use(offset, clusterBytes);
  useL1(l1, header.l1Offset);
  useSnapshots(file, header, use, useL1);
  return uses;
}

function useSnapshots(
  file: ImageFile,
  header: Qcow2Header,
  use: (offset: number, length: number) => void,
  useL1: (view: DataView, offset: number) => void,
): void {
  if (header.snapshots === 0) return;
  if (header.snapshots > SNAPSHOTS_MAX) throw badImage(`${header.snapshots} snapshots`);
  const entry = new Uint8Array(SnapshotHeader.size);
  let at = header.snapshotsOffset;
  for (let i = 0; i < header.snapshots; i++) {
    file.readAt(at, entry);
    const { l1_table_offset, l1_size, id_length, name_length, extra_data_size } =
      SnapshotHeader.decode(entry);
    if (l1_size * ENTRY_BYTES > L1_BYTES_MAX) throw badImage("a snapshot with an impossible L1 table");
    const l1 = new Uint8Array(l1_size * ENTRY_BYTES);
    file.readAt(l1_table_offset, l1);
    useL1(new DataView(l1.buffer), l1_table_offset);
    at += roundUp(SnapshotHeader.size + extra_data_size + id_length + name_length, 8);
  }
  use(header.snapshotsOffset, at - header.snapshotsOffset);
}
