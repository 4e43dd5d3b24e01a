/**
 * Which clusters of the file are in use, and how often: the refcount table, its blocks, and the search for free clusters.
 *
 * A count is raised in memory at once and reaches the file with `write…`, which the image calls before anything points
 * to the cluster. Where the table becomes too small a larger one is begun at the file's end; the header then has to be
 * told, and the old one is free once that is on stable storage.
 */
import type { ImageFile } from "../image-file.ts";
import { ENTRY_BYTES } from "./bits.ts";
import { badImage, type Qcow2Header, roundUp } from "./header.ts";
import { type CachedTable, TableCache } from "./table-cache.ts";

const HIGH_DWORD = 0x1_0000_0000;
/** A larger table has room for half as much again. */
const GROWTH = 1.5;

export class Refcounts {
  readonly #file: ImageFile;
  readonly #clusterBytes: number;
  readonly #bits: number;
  readonly #perBlock: number;
  readonly #blocks: TableCache;
  /** Offsets of blocks; 0 for none. */
  #table: Float64Array;
  #tableOffset: number;
  #tableClusters: number;
  #tableDirty = false;
  /** The table is not where the header says. */
  #moved = false;
  /** Clusters below this are in use, as far as is known. */
  #scanned = 0;
  /** The first cluster that has never been part of the file. */
  #end: number;

  constructor(file: ImageFile, header: Qcow2Header, cacheBytes: number) {
    this.#file = file;
    this.#clusterBytes = 2 ** header.clusterBits;
    this.#bits = 2 ** header.refcountOrder;
    this.#perBlock = (this.#clusterBytes * 8) / this.#bits;
    this.#blocks = new TableCache(file, this.#clusterBytes, cacheBytes, () => this.writeBlocks());
    this.#tableOffset = header.refcountOffset;
    this.#tableClusters = header.refcountClusters;
    this.#end = Math.ceil(file.sizeBytes / this.#clusterBytes);
    this.#table = this.#readTable();
  }

  /** Where the header should say the table is; null when it does. */
  get place(): { readonly offset: number; readonly clusters: number } | null {
    return this.#moved ? { offset: this.#tableOffset, clusters: this.#tableClusters } : null;
  }

  /** The header says it now. Returns the clusters of the table before, which are free then. */
  placed(before: { readonly offset: number; readonly clusters: number }): void {
    this.#moved = false;
    for (let i = 0; i < before.clusters; i++) this.change(before.offset / this.#clusterBytes + i, -1);
  }

  get dirty(): boolean {
    return this.#tableDirty || this.#blocks.anyDirty;
  }

  get tableDirty(): boolean {
    return this.#tableDirty;
  }

  get clusters(): number {
    return this.#end;
  }

  writeBlocks(): void {
    this.#blocks.writeDirty();
  }

  /** Writes the table; its blocks are on stable storage. */
  writeTable(): void {
    if (!this.#tableDirty) return;
    const bytes = new Uint8Array(this.#tableClusters * this.#clusterBytes);
    const view = new DataView(bytes.buffer);
    this.#table.forEach((offset, i) => {
      view.setUint32(i * ENTRY_BYTES, Math.floor(offset / HIGH_DWORD));
      view.setUint32(i * ENTRY_BYTES + 4, offset % HIGH_DWORD);
    });
    this.#file.writeAt(this.#tableOffset, bytes);
    this.#tableDirty = false;
  }

  /** A cluster that nobody uses, from now on used once. Returns its offset. */
  allocate(): number {
    for (; this.#scanned < this.#end; this.#scanned++) {
      if (this.get(this.#scanned) === 0) return this.#take(this.#scanned++);
    }
    const cluster = this.#end++;
    this.#scanned = this.#end;
    return this.#take(cluster);
  }

  /** Several together, at the file's end. Returns the first one's offset. */
  allocateRun(clusters: number): number {
    const first = this.#end;
    this.#end += clusters;
    for (let i = 0; i < clusters; i++) this.set(first + i, 1);
    return first * this.#clusterBytes;
  }

  get(cluster: number): number {
    const offset = this.#table[Math.floor(cluster / this.#perBlock)] ?? 0;
    return offset === 0 ? 0 : this.#read(this.#blocks.get(offset), cluster % this.#perBlock);
  }

  /** Raises or lowers a count. Returns the new one. Throws ThimbleError("bad_image") where it cannot be. */
  change(cluster: number, by: number): number {
    const count = this.get(cluster) + by;
    if (count < 0 || count >= 2 ** this.#bits)
      throw badImage(`cluster ${cluster} would be used ${count} times`);
    this.set(cluster, count);
    return count;
  }

  set(cluster: number, count: number): void {
    const block = this.#blockOf(cluster);
    this.#write(block, cluster % this.#perBlock, count);
    block.dirty = true;
    if (count === 0 && cluster < this.#scanned) this.#scanned = cluster;
  }

  /** Offsets of the clusters that table and blocks themselves take. */
  *ownClusters(): Generator<number> {
    for (let i = 0; i < this.#tableClusters; i++) yield this.#tableOffset + i * this.#clusterBytes;
    for (const offset of this.#table) if (offset !== 0) yield offset;
  }

  #take(cluster: number): number {
    this.set(cluster, 1);
    return cluster * this.#clusterBytes;
  }

  #readTable(): Float64Array {
    const bytes = new Uint8Array(this.#tableClusters * this.#clusterBytes);
    this.#file.readAt(this.#tableOffset, bytes);
    const view = new DataView(bytes.buffer);
    const end = roundUp(this.#file.sizeBytes, this.#clusterBytes);
    return Float64Array.from({ length: bytes.length / ENTRY_BYTES }, (_, i) => {
      const offset = view.getUint32(i * ENTRY_BYTES) * HIGH_DWORD + view.getUint32(i * ENTRY_BYTES + 4);
      if (offset % this.#clusterBytes !== 0 || offset >= end)
        throw badImage("a refcount block is not inside the file");
      return offset;
    });
  }

  /** The block that counts a cluster; made if there is none. */
  #blockOf(cluster: number): CachedTable {
    const range = Math.floor(cluster / this.#perBlock);
    if (range >= this.#table.length) this.#growTable(range + 1);
    while (this.#table[range] === 0) {
      // A new block is a cluster at the end, counted by itself or by a block that is there.
      const own = this.#end++;
      const ownRange = Math.floor(own / this.#perBlock);
      if (ownRange >= this.#table.length) this.#growTable(ownRange + 1);
      const hosted = this.#table[ownRange] === 0 ? ownRange : range;
      this.#table[hosted] = own * this.#clusterBytes;
      this.#tableDirty = true;
      this.#blocks.create(own * this.#clusterBytes);
      this.set(own, 1);
    }
    return this.#blocks.get(this.#table[range] as number);
  }

  #growTable(entries: number): void {
    const perCluster = this.#clusterBytes / ENTRY_BYTES;
    const before = { offset: this.#tableOffset, clusters: this.#tableClusters };
    const clusters = Math.ceil((entries * GROWTH) / perCluster) + 1;
    const first = this.#end;
    this.#end += clusters;
    const table = new Float64Array(clusters * perCluster);
    table.set(this.#table);
    this.#table = table;
    this.#tableOffset = first * this.#clusterBytes;
    this.#tableClusters = clusters;
    this.#tableDirty = true;
    // One that never came to be in the header is free at once.
    if (this.#moved)
      for (let i = 0; i < before.clusters; i++) this.change(before.offset / this.#clusterBytes + i, -1);
    this.#moved = true;
    for (let i = 0; i < clusters; i++) this.set(first + i, 1);
  }

  #read({ view }: CachedTable, index: number): number {
    const bits = this.#bits;
    if (bits < 8) return (view.getUint8((index * bits) >> 3) >> ((index * bits) & 7)) & ((1 << bits) - 1);
    if (bits === 8) return view.getUint8(index);
    if (bits === 16) return view.getUint16(2 * index);
    if (bits === 32) return view.getUint32(4 * index);
    return view.getUint32(8 * index) * HIGH_DWORD + view.getUint32(8 * index + 4);
  }

  #write({ view }: CachedTable, index: number, count: number): void {
    const bits = this.#bits;
    if (bits < 8) {
      const at = (index * bits) >> 3;
      const shift = (index * bits) & 7;
      const mask = ((1 << bits) - 1) << shift;
      view.setUint8(at, (view.getUint8(at) & ~mask) | (count << shift));
    } else if (bits === 8) view.setUint8(index, count);
    else if (bits === 16) view.setUint16(2 * index, count);
    else if (bits === 32) view.setUint32(4 * index, count);
    else {
      view.setUint32(8 * index, Math.floor(count / HIGH_DWORD));
      view.setUint32(8 * index + 4, count % HIGH_DWORD);
    }
  }
}
