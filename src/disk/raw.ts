/** A disk that is its file, byte for byte. */
import type { DiskImage, ImageFile } from "./image-file.ts";

export class RawImage implements DiskImage {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly #file: ImageFile;

  constructor(file: ImageFile, options: { readonly readOnly?: boolean } = {}) {
    this.#file = file;
    this.sizeBytes = file.sizeBytes;
    this.readOnly = options.readOnly ?? false;
  }

  readAt(offset: number, target: Uint8Array): void {
    this.#file.readAt(offset, target);
  }

  writeAt(offset: number, data: Uint8Array): void {
    this.#file.writeAt(offset, data);
  }

  discard(offset: number, length: number): void {
    this.#file.punchHole(offset, length);
  }

  writeZeroes(offset: number, length: number): void {
    this.#file.punchHole(offset, length);
  }

  flush(): void {
    this.#file.flush();
  }

  close(): void {
    this.#file.close();
  }
}
