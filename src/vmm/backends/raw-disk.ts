/** A disk that is its file, byte for byte. */
import { EOPNOTSUPP } from "../../sys/errno.ts";
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE } from "../../sys/fs.ts";
import { addressOf } from "../../sys/vector-io.ts";
import type { BlockBackend, BlockCompletion, SegmentList } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { DiskFile, type DiskFileOptions } from "./disk-file.ts";
import { IovecArray } from "./iovec.ts";

/** What zeroes are written from where the file cannot make them itself: one buffer, named by many iovecs. */
const ZERO_BUFFER_SIZE = 64 * 1024;
const ZEROES_PER_CALL = 1024 * 1024;
/** As much as direct access to any file asks for. */
const ZERO_ALIGNMENT = 4096;

export class RawDisk implements BlockBackend {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly readOnly: boolean;
  readonly #file: DiskFile;
  /** What the file turned out not to support is not tried again. */
  #canPunch = true;
  #canZero = true;

  /** Throws as DiskFile does. */
  constructor(path: string, memory: GuestMemory, options: DiskFileOptions) {
    this.#file = new DiskFile(path, memory, options);
    this.readOnly = options.readOnly;
    this.sizeBytes = this.#file.sizeBytes;
    this.blockSizeBytes = this.#file.blockSizeBytes;
  }

  read(offset: number, segments: SegmentList, done: BlockCompletion): void {
    this.#file.transfer(false, offset, segments, done);
  }

  write(offset: number, segments: SegmentList, done: BlockCompletion): void {
    this.#file.transfer(true, offset, segments, done);
  }

  flush(done: BlockCompletion): void {
    this.#file.sync(done);
  }

  discard(offset: number, length: number, done: BlockCompletion): void {
    // A hint: a file that cannot make holes keeps its data.
    this.#punch(offset, length, done, () => done(0));
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean, done: BlockCompletion): void {
    const zero = () =>
      this.#zeroRange(offset, length, done, () => done(this.#writeZeroBytes(offset, length)));
    if (mayUnmap) this.#punch(offset, length, done, zero);
    else zero();
  }

  submit(): void {
    this.#file.submit();
  }

  close(): void {
    this.#file.close();
  }

  /** Makes a hole; `otherwise` where the file cannot. */
  #punch(offset: number, length: number, done: BlockCompletion, otherwise: () => void): void {
    if (!this.#canPunch) {
      otherwise();
      return;
    }
    this.#file.allocate(FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length, (result) => {
      this.#canPunch = result !== -EOPNOTSUPP;
      if (this.#canPunch) done(result);
      else otherwise();
    });
  }

  /** Zeroes a range that stays allocated; `otherwise` where the file cannot. */
  #zeroRange(offset: number, length: number, done: BlockCompletion, otherwise: () => void): void {
    if (!this.#canZero) {
      otherwise();
      return;
    }
    this.#file.allocate(FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, offset, length, (result) => {
      this.#canZero = result !== -EOPNOTSUPP;
      if (this.#canZero) done(result);
      else otherwise();
    });
  }

  /** Returns 0 or a negative errno. */
  #writeZeroBytes(offset: number, length: number): number {
    const zeroes = new Uint8Array(ZERO_BUFFER_SIZE + ZERO_ALIGNMENT);
    const address = Math.ceil(addressOf(zeroes) / ZERO_ALIGNMENT) * ZERO_ALIGNMENT;
    const iovec = new IovecArray();
    for (let done = 0; done < length; ) {
      const size = Math.min(length - done, ZEROES_PER_CALL);
      iovec.clear();
      for (let rest = size; rest > 0; rest -= ZERO_BUFFER_SIZE)
        iovec.add(address, Math.min(rest, ZERO_BUFFER_SIZE));
      const result = this.#file.writeNow(offset + done, iovec);
      if (result < 0) return result;
      done += size;
    }
    return zeroes[0] as number; // 0, and keeps the buffer alive until here
  }
}
