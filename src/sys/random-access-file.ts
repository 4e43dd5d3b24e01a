/** A file read and written anywhere, waiting: what disk formats keep their tables in. */
import { check, EINTR, EIO, EOPNOTSUPP, SystemError } from "./errno.ts";
import { close, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, ftruncate, statFd } from "./fs.ts";
import { SYS } from "./syscall-numbers.ts";
import { fdatasync, tryFallocate } from "./vector-io.ts";

const ZEROES_PER_WRITE = 64 * 1024;

/** An ImageFile (src/disk) on a descriptor, which it owns. Calls give the runtime lock back while they wait. */
export class RandomAccessFile {
  #lost = false;

  /** `name` is for errors. */
  constructor(
    readonly fd: number,
    readonly name: string,
  ) {}

  get sizeBytes(): number {
    return statFd(this.fd, this.name).sizeBytes;
  }

  readAt(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const rest = target.subarray(done);
      const size = bridge.syscallBlocking(SYS.pread64, this.fd, rest, rest.length, offset + done);
      if (size === 0) {
        rest.fill(0);
        return;
      }
      if (size !== -EINTR) done += check(size, "pread", this.name);
    }
  }

  writeAt(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      const rest = data.subarray(done);
      const size = bridge.syscallBlocking(SYS.pwrite64, this.fd, rest, rest.length, offset + done);
      if (size !== -EINTR) done += check(size, "pwrite", this.name);
    }
  }

  /** Once it has failed it fails for ever: the kernel forgets what it could not write, and would say yes the next time. */
  flush(): void {
    if (this.#lost) throw new SystemError(EIO, "fdatasync", this.name);
    let result = -EINTR;
    while (result === -EINTR) result = fdatasync(this.fd);
    this.#lost = result < 0;
    if (this.#lost) throw new SystemError(EIO, "fdatasync", this.name);
  }

  punchHole(offset: number, length: number): void {
    const result = tryFallocate(this.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length);
    if (result !== -EOPNOTSUPP) {
      check(result, "fallocate", this.name);
      return;
    }
    const zeroes = new Uint8Array(Math.min(length, ZEROES_PER_WRITE));
    const end = Math.min(offset + length, this.sizeBytes);
    for (let at = offset; at < end; at += zeroes.length) {
      this.writeAt(at, zeroes.subarray(0, Math.min(zeroes.length, end - at)));
    }
  }

  truncate(sizeBytes: number): void {
    ftruncate(this.fd, sizeBytes);
  }

  close(): void {
    close(this.fd);
  }
}
