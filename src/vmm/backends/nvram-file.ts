/** The file that holds a guest's firmware variables: read once, then written through to stable storage. */
import { ThimbleError } from "../../base/errors.ts";
import { close, O_RDWR, open, pread, pwrite, statFd, syncData } from "../../sys/fs.ts";
import { lockFile } from "../../sys/lock.ts";
import type { FlashStore } from "../devices/flash/flash.ts";

export class NvramFile implements FlashStore {
  readonly sizeBytes: number;
  readonly #fd: number;
  readonly #onError: (error: unknown) => void;

  /**
   * Opens and locks the file. `onError` is told when a write fails. Throws ThimbleError("nvram_in_use") or
   * SystemError.
   */
  constructor(path: string, onError: (error: unknown) => void) {
    this.#onError = onError;
    this.#fd = open(path, O_RDWR);
    try {
      if (!lockFile(this.#fd, "exclusive", path)) {
        throw new ThimbleError("nvram_in_use", `the firmware variables ${path} are in use by another VM`);
      }
      this.sizeBytes = statFd(this.#fd, path).sizeBytes;
    } catch (error) {
      close(this.#fd);
      throw error;
    }
  }

  /** Reads all of it. */
  readInto(target: Uint8Array): void {
    pread(this.#fd, target, 0);
  }

  write(offset: number, bytes: Uint8Array): boolean {
    try {
      pwrite(this.#fd, bytes, offset);
      syncData(this.#fd);
      return true;
    } catch (error) {
      this.#onError(error);
      return false;
    }
  }

  close(): void {
    close(this.#fd);
  }
}
