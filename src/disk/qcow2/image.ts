/**
 * A disk in a qcow2 image: versions 2 and 3, backing files, zero and compressed clusters, images with snapshots.
 *
 * What is written becomes part of the image in this order, at each flush: data and reference counts, then L2 tables, then
 * the L1 table. So a power cut leaves at worst clusters that are counted and not used. Clusters that are given up are
 * counted down only after the tables that forget them are on stable storage. Version 3 has a mark for an image in use: one
 * that is opened with it has its counts made anew.
 */
import { ThimbleError } from "../../base/errors.ts";
import type { DiskImage, ImageFile } from "../image-file.ts";
import {
  ALL_ZEROES,
  COMPRESSED,
  COPIED,
  ENTRY_BYTES,
  HeaderV2,
  HeaderV3,
  Incompatible,
  OFFSET_HIGH_MASK,
  OFFSET_LOW_MASK,
} from "./bits.ts";
import { compressedRange, unpackCluster } from "./compressed.ts";
import { badImage, type Qcow2Header, readHeader, roundUp } from "./header.ts";
import { Refcounts } from "./refcounts.ts";
import { countReferences } from "./references.ts";
import { type CachedTable, TableCache } from "./table-cache.ts";

const HIGH_DWORD = 0x1_0000_0000;
const CACHE_BYTES = 1024 * 1024;
const REFCOUNT_CACHE_BYTES = 256 * 1024;

/**
 * What a piece of the disk is: bytes at an offset of the file, zeroes, what the backing file has there, or what only the
 * image itself can read or write.
 */
export type PlaceKind = "data" | "zeroes" | "backing" | "other";

export interface Place {
  kind: PlaceKind;
  /** Of "data". */
  fileOffset: number;
  length: number;
}

export interface Qcow2Options {
  readonly readOnly?: boolean;
  /** What clusters that the image does not have are read from; the caller has found and opened it by the header. */
  readonly backing?: DiskImage | null;
  /** Nobody reads or writes the disk: the image needs no backing. */
  readonly tablesOnly?: boolean;
}

export class Qcow2Image implements DiskImage {
  readonly readOnly: boolean;
  readonly header: Qcow2Header;
  readonly #file: ImageFile;
  readonly #backing: DiskImage | null;
  readonly #clusterBytes: number;
  readonly #perTable: number;
  readonly #l1: DataView;
  readonly #l2: TableCache;
  readonly #refcounts: Refcounts;
  readonly #found = { kind: "other" as PlaceKind, fileOffset: 0 };
  #l1Dirty = false;
  /** The header says that the image is in use. */
  #marked = false;
  /** Clusters to be counted down once nothing on stable storage names them. */
  #released: number[] = [];

  /** Throws ThimbleError("bad_image"), or what the file throws. */
  constructor(file: ImageFile, options: Qcow2Options = {}) {
    const header = readHeader(file);
    this.header = header;
    this.#file = file;
    this.readOnly = options.readOnly ?? false;
    this.#backing = options.backing ?? null;
    if (header.backing !== null && this.#backing === null && options.tablesOnly !== true)
      throw badImage("its backing file is missing");
    this.#clusterBytes = 2 ** header.clusterBits;
    this.#perTable = this.#clusterBytes / ENTRY_BYTES;
    const l1 = new Uint8Array(header.l1Entries * ENTRY_BYTES);
    file.readAt(header.l1Offset, l1);
    this.#l1 = new DataView(l1.buffer);
    this.#l2 = new TableCache(file, this.#clusterBytes, CACHE_BYTES, () => this.flush());
    this.#refcounts = new Refcounts(file, header, REFCOUNT_CACHE_BYTES);
    if ((header.incompatible & Incompatible.dirty) !== 0 && !this.readOnly) {
      this.#marked = true;
      this.#recount();
    }
  }

  get sizeBytes(): number {
    return this.header.sizeBytes;
  }

  /**
   * Where the disk's bytes from `offset` on are, for a caller that moves data itself: fills `place` for as many of the
   * `length` bytes as are of one kind, and lie in one piece if they are data. What it says of data holds until something
   * but plain overwriting in place is done to the image. `forWriting`: only what may be overwritten in place counts as
   * data.
   */
  locate(offset: number, length: number, forWriting: boolean, place: Place): void {
    place.length = 0;
    while (place.length < length) {
      const at = offset + place.length;
      const inCluster = at % this.#clusterBytes;
      this.#locateIn(at - inCluster, forWriting);
      const { kind, fileOffset } = this.#found;
      if (place.length === 0) {
        place.kind = kind;
        place.fileOffset = fileOffset + inCluster;
      } else if (kind !== place.kind || (kind === "data" && fileOffset !== place.fileOffset + place.length)) {
        return;
      }
      place.length += Math.min(this.#clusterBytes - inCluster, length - place.length);
    }
  }

  /** To be called before what `locate` named is overwritten. */
  beginWriting(): void {
    this.#mark();
  }

  readAt(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const inCluster = at % this.#clusterBytes;
      const size = Math.min(this.#clusterBytes - inCluster, target.length - done);
      this.#readPiece(at - inCluster, inCluster, target.subarray(done, done + size));
      done += size;
    }
  }

  writeAt(offset: number, data: Uint8Array): void {
    this.#mark();
    for (let done = 0; done < data.length; ) {
      const at = offset + done;
      const inCluster = at % this.#clusterBytes;
      const size = Math.min(this.#clusterBytes - inCluster, data.length - done);
      this.#writePiece(at - inCluster, inCluster, data.subarray(done, done + size));
      done += size;
    }
  }

  discard(offset: number, length: number): void {
    this.#mark();
    const end =
      offset + length === this.sizeBytes ? roundUp(this.sizeBytes, this.#clusterBytes) : offset + length;
    for (
      let at = roundUp(offset, this.#clusterBytes);
      at + this.#clusterBytes <= end;
      at += this.#clusterBytes
    ) {
      this.#giveUp(at);
    }
  }

  writeZeroes(offset: number, length: number): void {
    this.#mark();
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const inCluster = at % this.#clusterBytes;
      const size = Math.min(this.#clusterBytes - inCluster, length - done);
      const whole = inCluster === 0 && (size === this.#clusterBytes || at + size === this.sizeBytes);
      if (!whole || !this.#giveUp(at)) this.#writePiece(at - inCluster, inCluster, new Uint8Array(size));
      done += size;
    }
  }

  flush(): void {
    const refcounts = this.#refcounts;
    if (refcounts.dirty) {
      refcounts.writeBlocks();
      if (refcounts.tableDirty) {
        this.#file.flush();
        refcounts.writeTable();
      }
    }
    this.#file.flush();
    const before = this.#writeTablePlace();
    if (this.#l2.anyDirty) {
      this.#l2.writeDirty();
      this.#file.flush();
    }
    if (this.#l1Dirty) {
      this.#file.writeAt(this.header.l1Offset, new Uint8Array(this.#l1.buffer));
      this.#l1Dirty = false;
      this.#file.flush();
    }
    if (before !== null) refcounts.placed(before);
    const released = this.#released;
    this.#released = [];
    for (const cluster of released) {
      if (refcounts.change(cluster, -1) === 0)
        this.#file.punchHole(cluster * this.#clusterBytes, this.#clusterBytes);
    }
  }

  /** Flushes, and takes the mark away. The image is not used any more. */
  finish(): void {
    if (this.readOnly || !this.#marked) return;
    this.flush();
    this.flush(); // What the first one released is counted down now.
    this.#setIncompatible(this.header.incompatible & ~Incompatible.dirty);
  }

  /** Finishes, and closes the file and its backing. */
  close(): void {
    this.finish();
    this.#file.close();
    this.#backing?.close();
  }

  /** Differences between the counts in the file and what is really used: too high (leaks), too low (errors). */
  check(): { readonly leaks: number; readonly errors: number } {
    const used = this.#count();
    let leaks = 0;
    let errors = 0;
    for (let cluster = 0; cluster < this.#refcounts.clusters; cluster++) {
      const difference = this.#refcounts.get(cluster) - (used[cluster] ?? 0);
      if (difference > 0) leaks++;
      if (difference < 0) errors++;
    }
    return { leaks, errors };
  }

  /** Makes the counts what `check` would have them. */
  repair(): void {
    this.#mark();
    this.#recount();
  }

  #count(): Uint32Array {
    return countReferences(this.#file, this.header, this.#l1, this.#refcounts);
  }

  #recount(): void {
    const used = this.#count();
    for (let cluster = 0; cluster < used.length; cluster++) {
      const count = used[cluster] as number;
      if (this.#refcounts.get(cluster) !== count) this.#refcounts.set(cluster, count);
    }
  }

  /** Says in the header that the image is in use, before anything in it changes. */
  #mark(): void {
    if (this.readOnly) throw new ThimbleError("read_only", "The disk image is opened for reading only.");
    if (this.#marked) return;
    this.#marked = true;
    this.#setIncompatible(this.header.incompatible | Incompatible.dirty);
  }

  #setIncompatible(bits: number): void {
    if (this.header.version < 3) return;
    const field = new Uint8Array(4);
    new DataView(field.buffer).setUint32(0, bits);
    this.#file.writeAt(HeaderV2.size + HeaderV3.offset.incompatible_features, field);
    this.#file.flush();
  }

  /** Tells the header of a refcount table that has moved; returns where it was. */
  #writeTablePlace(): { offset: number; clusters: number } | null {
    const place = this.#refcounts.place;
    if (place === null) return null;
    const bytes = new Uint8Array(HeaderV2.size);
    this.#file.readAt(0, bytes);
    const { refcount_table_offset, refcount_table_clusters } = HeaderV2.decode(bytes);
    HeaderV2.patch(bytes, 0, {
      refcount_table_offset: place.offset,
      refcount_table_clusters: place.clusters,
    });
    this.#file.writeAt(0, bytes);
    this.#file.flush();
    return { offset: refcount_table_offset, clusters: refcount_table_clusters };
  }

  /** Sets `#found` to where a cluster is. */
  #locateIn(clusterAt: number, forWriting: boolean): void {
    const found = this.#found;
    const table = this.#tableFor(clusterAt);
    const slot = this.#slot(clusterAt);
    const high = table === null ? 0 : table.view.getUint32(slot);
    const low = table === null ? 0 : table.view.getUint32(slot + 4);
    found.fileOffset = 0;
    found.kind = "other";
    const isZero = (low & ALL_ZEROES) !== 0 && this.header.version === 3;
    if ((high & COMPRESSED) !== 0) return;
    if (forWriting && ((high & COPIED) === 0 || isZero || !this.#isOwnTable(clusterAt))) return;
    const offset = isZero ? 0 : this.#offsetIn(high, low);
    if (offset !== 0) {
      found.kind = "data";
      found.fileOffset = offset;
    } else {
      found.kind = isZero || this.#backing === null ? "zeroes" : "backing";
    }
  }

  /** Whether a cluster's L2 table may be changed where it is. */
  #isOwnTable(clusterAt: number): boolean {
    const at = Math.floor(clusterAt / (this.#clusterBytes * this.#perTable)) * ENTRY_BYTES;
    return (this.#l1.getUint32(at) & COPIED) !== 0;
  }

  #readPiece(clusterAt: number, inCluster: number, target: Uint8Array): void {
    const table = this.#tableFor(clusterAt);
    const slot = this.#slot(clusterAt);
    const high = table === null ? 0 : table.view.getUint32(slot);
    const low = table === null ? 0 : table.view.getUint32(slot + 4);
    if ((high & COMPRESSED) !== 0) {
      target.set(this.#decompressed(high, low).subarray(inCluster, inCluster + target.length));
    } else if ((low & ALL_ZEROES) !== 0 && this.header.version === 3) {
      target.fill(0);
    } else {
      const offset = this.#offsetIn(high, low);
      if (offset !== 0) this.#file.readAt(offset + inCluster, target);
      else this.#readBacking(clusterAt + inCluster, target);
    }
  }

  #readBacking(at: number, target: Uint8Array): void {
    const backing = this.#backing;
    target.fill(0);
    if (backing === null || at >= backing.sizeBytes) return;
    backing.readAt(at, target.subarray(0, Math.min(target.length, backing.sizeBytes - at)));
  }

  #writePiece(clusterAt: number, inCluster: number, data: Uint8Array): void {
    const slot = this.#slot(clusterAt);
    let table = this.#tableForWriting(clusterAt);
    const high = table.view.getUint32(slot);
    const low = table.view.getUint32(slot + 4);
    const ours = (high & COPIED) !== 0 && (high & COMPRESSED) === 0;
    const zero = (low & ALL_ZEROES) !== 0;
    if (ours && !zero) {
      this.#file.writeAt(this.#offsetIn(high, low) + inCluster, data);
      return;
    }
    let whole = data;
    if (data.length < this.#clusterBytes) {
      whole = new Uint8Array(this.#clusterBytes);
      this.#readPiece(clusterAt, 0, whole);
      whole.set(data, inCluster);
    }
    const isNew = !(ours && zero);
    const offset = isNew ? this.#refcounts.allocate() : this.#offsetIn(high, low);
    try {
      this.#file.writeAt(offset, whole);
    } catch (error) {
      if (isNew) this.#refcounts.change(offset / this.#clusterBytes, -1);
      throw error;
    }
    table = this.#tableForWriting(clusterAt);
    this.#setEntry(table, slot, COPIED, offset);
    if (isNew) this.#release(high, low);
  }

  /** A whole cluster reads as zeroes from now on, and takes no room. False where the version cannot say so. */
  #giveUp(clusterAt: number): boolean {
    const old = this.#tableFor(clusterAt);
    if (old === null && this.#backing === null) return true;
    if (this.header.version < 3 && this.#backing !== null) return false;
    const table = this.#tableForWriting(clusterAt);
    const slot = this.#slot(clusterAt);
    const high = table.view.getUint32(slot);
    const low = table.view.getUint32(slot + 4);
    table.view.setUint32(slot, 0);
    table.view.setUint32(slot + 4, this.#backing === null ? 0 : ALL_ZEROES);
    table.dirty = true;
    this.#release(high, low);
    return true;
  }

  /** What an entry named is used once less, as soon as the entry's end is on stable storage. */
  #release(high: number, low: number): void {
    if ((high & COMPRESSED) !== 0) {
      const { offset, length } = this.#compressedRange(high, low);
      const last = Math.floor((offset + length - 1) / this.#clusterBytes);
      for (let cluster = Math.floor(offset / this.#clusterBytes); cluster <= last; cluster++) {
        this.#released.push(cluster);
      }
    } else {
      const offset = this.#offsetIn(high, low);
      if (offset !== 0) this.#released.push(offset / this.#clusterBytes);
    }
  }

  #setEntry(table: CachedTable, slot: number, flags: number, offset: number): void {
    table.view.setUint32(slot, (flags | Math.floor(offset / HIGH_DWORD)) >>> 0);
    table.view.setUint32(slot + 4, offset % HIGH_DWORD);
    table.dirty = true;
  }

  #slot(clusterAt: number): number {
    return (Math.floor(clusterAt / this.#clusterBytes) % this.#perTable) * ENTRY_BYTES;
  }

  /** The L2 table for a cluster; null where there is none. */
  #tableFor(clusterAt: number): CachedTable | null {
    const at = Math.floor(clusterAt / (this.#clusterBytes * this.#perTable)) * ENTRY_BYTES;
    const offset = this.#offsetIn(this.#l1.getUint32(at), this.#l1.getUint32(at + 4));
    return offset === 0 ? null : this.#l2.get(offset);
  }

  /** The same, made if there is none, and copied if a snapshot has it too. */
  #tableForWriting(clusterAt: number): CachedTable {
    const at = Math.floor(clusterAt / (this.#clusterBytes * this.#perTable)) * ENTRY_BYTES;
    const high = this.#l1.getUint32(at);
    const old = this.#offsetIn(high, this.#l1.getUint32(at + 4));
    if (old !== 0 && (high & COPIED) !== 0) return this.#l2.get(old);
    const content = old === 0 ? null : this.#l2.get(old).bytes.slice();
    const offset = this.#refcounts.allocate();
    const table = this.#l2.create(offset);
    if (content !== null) {
      table.bytes.set(content);
      this.#released.push(old / this.#clusterBytes);
    }
    this.#l1.setUint32(at, (COPIED | Math.floor(offset / HIGH_DWORD)) >>> 0);
    this.#l1.setUint32(at + 4, offset % HIGH_DWORD);
    this.#l1Dirty = true;
    return table;
  }

  /** The cluster that an entry names, checked; 0 for none. */
  #offsetIn(high: number, low: number): number {
    const offset = (high & OFFSET_HIGH_MASK) * HIGH_DWORD + ((low & OFFSET_LOW_MASK) >>> 0);
    if (offset % this.#clusterBytes !== 0 || offset >= this.#refcounts.clusters * this.#clusterBytes) {
      throw badImage(`a table names ${offset}, where no cluster is`);
    }
    return offset;
  }

  /** Where an entry's compressed data are, inside the file. */
  #compressedRange(high: number, low: number): { offset: number; length: number } {
    const range = compressedRange(this.header.clusterBits, high, low);
    if (range.offset >= this.#refcounts.clusters * this.#clusterBytes)
      throw badImage("compressed data outside the file");
    return range;
  }

  #decompressed(high: number, low: number): Uint8Array {
    const { offset, length } = this.#compressedRange(high, low);
    const packed = new Uint8Array(length);
    this.#file.readAt(offset, packed);
    return unpackCluster(packed, this.#clusterBytes);
  }
}
