/** An ImageFile under Node, for tests and build tools. */
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import type { ImageFile } from "../image-file.ts";

export class NodeFile implements ImageFile {
  readonly #fd: number;

  /** `flags` as of fs.open: "r", "r+", "wx+". */
  constructor(path: string, flags: string) {
    this.#fd = openSync(path, flags);
  }

  get sizeBytes(): number {
    return fstatSync(this.#fd).size;
  }

  readAt(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const size = readSync(this.#fd, target, done, target.length - done, offset + done);
      if (size === 0) {
        target.fill(0, done);
        return;
      }
      done += size;
    }
  }

  writeAt(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      done += writeSync(this.#fd, data, done, data.length - done, offset + done);
    }
  }

  flush(): void {
    fsyncSync(this.#fd);
  }

  punchHole(offset: number, length: number): void {
    const end = Math.min(offset + length, this.sizeBytes);
    if (end > offset) this.writeAt(offset, new Uint8Array(end - offset));
  }

  truncate(sizeBytes: number): void {
    ftruncateSync(this.#fd, sizeBytes);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
