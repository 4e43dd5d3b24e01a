/** Where the debug console's characters go: a file, written line by line. */
import { close, O_APPEND, O_CREAT, O_TRUNC, O_WRONLY, open, statFd, tryWrite } from "../../sys/fs.ts";

const LINE_MAX = 512;
/** A guest must not fill a disk; the most talkative firmware builds write a hundredth of this in a boot. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;
const NEWLINE = 0x0a;

export class DebugFile {
  readonly #fd: number;
  readonly #line = new Uint8Array(LINE_MAX);
  #used = 0;
  #written: number;

  /** A new file, or with `append` the one from before a reset. Throws SystemError. */
  constructor(path: string, append: boolean) {
    this.#fd = open(path, O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC));
    this.#written = statFd(this.#fd, path).sizeBytes;
  }

  /** May be called on any vCPU's thread. What the file does not take is lost. */
  put(byte: number): void {
    this.#line[this.#used++] = byte;
    if (byte === NEWLINE || this.#used === LINE_MAX) this.flush();
  }

  flush(): void {
    if (this.#used > 0 && this.#written < FILE_BYTES_MAX) {
      this.#written += this.#used;
      tryWrite(this.#fd, this.#line.subarray(0, this.#used));
    }
    this.#used = 0;
  }

  close(): void {
    this.flush();
    close(this.#fd);
  }
}
