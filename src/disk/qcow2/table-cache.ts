/** Tables of an image (L2 tables, refcount blocks) in memory: the least recently used of them goes first. */
import type { ImageFile } from "../image-file.ts";

export interface CachedTable {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  dirty: boolean;
}

export class TableCache {
  readonly #file: ImageFile;
  readonly #tableBytes: number;
  readonly #most: number;
  /** By offset in the file; in the order of use, the least recent first. */
  readonly #tables = new Map<number, CachedTable>();
  readonly #makeRoom: () => void;

  /** `makeRoom` is called before a changed table has to go; it writes what is changed, in the order that is safe. */
  constructor(file: ImageFile, tableBytes: number, cacheBytes: number, makeRoom: () => void) {
    this.#file = file;
    this.#tableBytes = tableBytes;
    this.#most = Math.max(2, Math.floor(cacheBytes / tableBytes));
    this.#makeRoom = makeRoom;
  }

  /** The table at an offset, read if need be. */
  get(offset: number): CachedTable {
    const known = this.#tables.get(offset);
    if (known !== undefined) {
      this.#tables.delete(offset);
      this.#tables.set(offset, known);
      return known;
    }
    const table = this.#add(offset);
    this.#file.readAt(offset, table.bytes);
    return table;
  }

  /** A new table of zeroes, to be written. */
  create(offset: number): CachedTable {
    this.#tables.delete(offset);
    const table = this.#add(offset);
    table.dirty = true;
    return table;
  }

  get anyDirty(): boolean {
    for (const table of this.#tables.values()) if (table.dirty) return true;
    return false;
  }

  writeDirty(): void {
    for (const table of this.#tables.values()) {
      if (!table.dirty) continue;
      this.#file.writeAt(table.offset, table.bytes);
      table.dirty = false;
    }
  }

  /** The table at an offset is no more. */
  forget(offset: number): void {
    this.#tables.delete(offset);
  }

  #add(offset: number): CachedTable {
    for (const [oldest, table] of this.#tables) {
      if (this.#tables.size < this.#most) break;
      if (table.dirty) this.#makeRoom();
      this.#tables.delete(oldest);
    }
    const bytes = new Uint8Array(this.#tableBytes);
    const table = { offset, bytes, view: new DataView(bytes.buffer), dirty: false };
    this.#tables.set(offset, table);
    return table;
  }
}
