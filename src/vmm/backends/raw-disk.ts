/**
 * A disk in a raw image file (or a block device).
 *
 * Data goes straight between the file and guest memory (preadv, pwritev on the segments' addresses here), with the
 * runtime lock given back meanwhile, so vCPUs go on. Every request completes before its call returns. Why not io_uring
 * yet: docs/decisions/0005-disk-io-by-preadv.md.
 */
import { ThimbleError } from "../../base/errors.ts";
import { EAGAIN, EINTR, EIO, EOPNOTSUPP } from "../../sys/errno.ts";
import {
  close,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  FALLOC_ZERO_RANGE,
  O_RDONLY,
  O_RDWR,
  open,
  statFd,
} from "../../sys/fs.ts";
import { ioctl, ior } from "../../sys/ioctl.ts";
import { lockFile } from "../../sys/lock.ts";
import { addressOf, fdatasync, preadv, pwritev, tryFallocate } from "../../sys/vector-io.ts";
import type { BlockBackend, BlockCompletion, SegmentList } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { IOV_MAX, IovecArray } from "./iovec.ts";

const SECTOR_SIZE = 512;
const BLKGETSIZE64 = ior(0x12, 114, 8);
/** What zeroes are written from where the file cannot make them itself: one buffer, named by many iovecs. */
const ZERO_BUFFER_SIZE = 64 * 1024;
const ZEROES_PER_CALL = 1024 * 1024;

/**
 * Longest write in one call, where the request's segments allow it. For each page that it takes the kernel's page cache
 * first touches all that the call still has to give (generic_perform_write with large folios, Linux 6.12): on tmpfs a
 * call of 1 MiB spent four fifths of its time so.
 */
const WRITE_BYTES_PER_CALL = 128 * 1024;

type VectorCall = typeof preadv;

export class RawDisk implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly #fd: number;
  readonly #memory: GuestMemory;
  readonly #iovec = new IovecArray();
  /** The iovec array belongs to a call that waits in the kernel; another thread's request makes its own. */
  #iovecBusy = false;
  /** What the file turned out not to support is not tried again. */
  #canPunch = true;
  #canZero = true;
  /** Something was written since the last flush. */
  #dirty = false;

  /**
   * Opens the image and locks it: for writing by one, or for reading by many. Throws ThimbleError("disk_in_use"),
   * ThimbleError("bad_disk") or SystemError.
   */
  constructor(path: string, readOnly: boolean, memory: GuestMemory) {
    this.#memory = memory;
    this.readOnly = readOnly;
    this.#fd = open(path, readOnly ? O_RDONLY : O_RDWR);
    try {
      if (!lockFile(this.#fd, readOnly ? "shared" : "exclusive", path)) {
        throw new ThimbleError("disk_in_use", `the disk ${path} is in use by another VM or program`);
      }
      this.sizeBytes = sizeOf(this.#fd, path);
    } catch (error) {
      close(this.#fd);
      throw error;
    }
  }

  read(offset: number, segments: SegmentList, done: BlockCompletion): void {
    done(this.#transfer(preadv, offset, segments));
  }

  write(offset: number, segments: SegmentList, done: BlockCompletion): void {
    this.#dirty = true;
    done(this.#transfer(pwritev, offset, segments));
  }

  flush(done: BlockCompletion): void {
    done(this.#sync());
  }

  discard(offset: number, length: number, done: BlockCompletion): void {
    // A hint: a file that cannot make holes keeps its data.
    done(this.#punch(offset, length) ?? 0);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean, done: BlockCompletion): void {
    this.#dirty = true;
    done(
      (mayUnmap ? this.#punch(offset, length) : null) ??
        this.#zeroRange(offset, length) ??
        this.#writeZeroBytes(offset, length),
    );
  }

  /** Flushes what the guest has not, and gives the file back. */
  close(): void {
    if (this.#dirty) this.#sync();
    close(this.#fd);
  }

  #transfer(call: VectorCall, offset: number, segments: SegmentList): number {
    if (this.#iovecBusy) {
      const own = new IovecArray();
      own.fill(this.#memory, segments);
      return this.#run(call, offset, own);
    }
    this.#iovecBusy = true;
    this.#iovec.fill(this.#memory, segments);
    const result = this.#run(call, offset, this.#iovec);
    this.#iovecBusy = false;
    return result;
  }

  /** Repeats the call until everything in the iovec array is transferred. Returns 0 or a negative errno. */
  #run(call: VectorCall, start: number, iovec: IovecArray): number {
    for (let offset = start; iovec.totalBytes > 0; ) {
      const most = call === pwritev ? iovec.countWithin(WRITE_BYTES_PER_CALL) : iovec.count;
      const result = call(this.#fd, iovec.words, Math.min(most, IOV_MAX), offset);
      if (result === iovec.totalBytes) return 0;
      if (result === -EINTR || result === -EAGAIN) continue;
      if (result < 0) return result;
      if (result === 0) return -EIO; // the file has become shorter than the disk
      iovec.advance(result);
      offset += result;
    }
    return 0;
  }

  #sync(): number {
    this.#dirty = false;
    for (;;) {
      const result = fdatasync(this.#fd);
      if (result === -EINTR) continue;
      if (result < 0) this.#dirty = true;
      return result;
    }
  }

  /** Makes a hole. Returns null where the file cannot. */
  #punch(offset: number, length: number): number | null {
    if (!this.#canPunch) return null;
    const result = this.#fallocate(FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length);
    if (result !== -EOPNOTSUPP) return result;
    this.#canPunch = false;
    return null;
  }

  /** Zeroes a range that stays allocated. Returns null where the file cannot. */
  #zeroRange(offset: number, length: number): number | null {
    if (!this.#canZero) return null;
    const result = this.#fallocate(FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, offset, length);
    if (result !== -EOPNOTSUPP) return result;
    this.#canZero = false;
    return null;
  }

  #fallocate(mode: number, offset: number, length: number): number {
    for (;;) {
      const result = tryFallocate(this.#fd, mode, offset, length);
      if (result !== -EINTR) return result;
    }
  }

  #writeZeroBytes(offset: number, length: number): number {
    const zeroes = new Uint8Array(ZERO_BUFFER_SIZE);
    const address = addressOf(zeroes);
    const iovec = new IovecArray();
    for (let done = 0; done < length; ) {
      const size = Math.min(length - done, ZEROES_PER_CALL);
      iovec.clear();
      for (let rest = size; rest > 0; rest -= ZERO_BUFFER_SIZE)
        iovec.add(address, Math.min(rest, ZERO_BUFFER_SIZE));
      const result = this.#run(pwritev, offset + done, iovec);
      if (result < 0) return result;
      done += size;
    }
    return zeroes[0] as number; // 0, and keeps the buffer alive until here
  }
}

function sizeOf(fd: number, path: string): number {
  const { kind, sizeBytes } = statFd(fd, path);
  let size = sizeBytes;
  if (kind === "block") {
    const words = new Uint32Array(2);
    ioctl(fd, BLKGETSIZE64, words, "BLKGETSIZE64");
    size = (words[0] as number) + (words[1] as number) * 0x1_0000_0000;
  } else if (kind !== "file") {
    throw new ThimbleError("bad_disk", `${path} is a ${kind}, not a disk image`);
  }
  const whole = size - (size % SECTOR_SIZE);
  if (whole === 0)
    throw new ThimbleError("bad_disk", `the disk image ${path} is smaller than a sector (512 bytes)`);
  return whole;
}
