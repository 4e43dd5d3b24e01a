/** A file in memory whose machine may lose power: what was not flushed is then written, lost, or torn. */
import type { SeededRandom } from "../../base/random.ts";
import type { ImageFile } from "../image-file.ts";

const SECTOR = 512;

interface Change {
  readonly offset: number;
  readonly data: Uint8Array;
}

export class MemoryFile implements ImageFile {
  #content: Uint8Array;
  sizeBytes: number;
  /** What stable storage has. */
  #stable: Uint8Array;
  #pending: Change[] = [];
  writes = 0;
  flushes = 0;

  constructor(content: Uint8Array = new Uint8Array(0)) {
    this.#content = content.slice();
    this.#stable = content.slice();
    this.sizeBytes = content.length;
  }

  readAt(offset: number, target: Uint8Array): void {
    target.fill(0);
    target.set(this.#content.subarray(offset, Math.min(offset + target.length, this.sizeBytes)));
  }

  writeAt(offset: number, data: Uint8Array): void {
    this.writes++;
    this.#reserve(offset + data.length);
    this.#content.set(data, offset);
    this.#pending.push({ offset, data: data.slice() });
  }

  flush(): void {
    this.flushes++;
    this.#stable = this.bytes();
    this.#pending = [];
  }

  punchHole(offset: number, length: number): void {
    const inside = Math.min(length, this.sizeBytes - offset);
    if (inside > 0) this.writeAt(offset, new Uint8Array(inside));
  }

  truncate(sizeBytes: number): void {
    this.#reserve(sizeBytes);
    this.#content.fill(0, sizeBytes);
    this.sizeBytes = sizeBytes;
  }

  close(): void {}

  bytes(): Uint8Array {
    return this.#content.slice(0, this.sizeBytes);
  }

  /** The file after a power cut now: each sector written since the last flush may be there or not, in any mixture. */
  afterPowerCut(random: SeededRandom): Uint8Array {
    const end = this.#pending.reduce((most, { offset, data }) => Math.max(most, offset + data.length), 0);
    const out = new Uint8Array(Math.max(this.#stable.length, end));
    out.set(this.#stable);
    for (const { offset, data } of this.#pending) {
      const luck = random.below(4);
      for (let at = 0; at < data.length; ) {
        const size = Math.min(SECTOR - ((offset + at) % SECTOR), data.length - at);
        if (luck === 0 || (luck === 1 && random.below(2) === 0))
          out.set(data.subarray(at, at + size), offset + at);
        at += size;
      }
    }
    return out;
  }

  #reserve(end: number): void {
    if (end > this.#content.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.#content.length));
      grown.set(this.#content);
      this.#content = grown;
    }
    if (end > this.sizeBytes) this.sizeBytes = end;
  }
}
