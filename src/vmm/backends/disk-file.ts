/**
 * The file (or block device) of a disk image: data moves between it and guest memory without a copy.
 *
 * Where the file can work on several requests at once they go through io_uring, in batches: `submit` hands over what was
 * begun. On file systems in memory, which do all in the call, they are carried out one by one with the runtime lock given
 * back meanwhile (docs/decisions/0015-disk-data-path.md).
 */
import { ThimbleError } from "../../base/errors.ts";
import { EAGAIN, EINTR, EIO } from "../../sys/errno.ts";
import { close, directAlignment, O_DIRECT, O_RDONLY, O_RDWR, open, statFd } from "../../sys/fs.ts";
import { FSYNC_DATASYNC, type IoRing, RingOp } from "../../sys/io-uring.ts";
import { io, ioctl, ior } from "../../sys/ioctl.ts";
import { lockFile } from "../../sys/lock.ts";
import { statfs } from "../../sys/mount.ts";
import { addressOf, fdatasync, preadv, pwritev, tryFallocate } from "../../sys/vector-io.ts";
import type { BlockCompletion, SegmentList } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { bytesOf, copyOf, gather, scatter } from "../virtio/segments.ts";
import { IOV_MAX, IovecArray } from "./iovec.ts";

const SECTOR_SIZE = 512;
const BLKGETSIZE64 = ior(0x12, 114, 8);
const BLKSSZGET = io(0x12, 104);
/** Whose files are in memory (statfs(2)). */
const MEMORY_FILE_SYSTEMS = [0x0102_1994, 0x8584_58f6];

/**
 * Longest write in one call, where the request's segments allow it. For each page that it takes the kernel's page cache
 * first touches all that the call still has to give (generic_perform_write with large folios, Linux 6.12): on tmpfs a
 * call of 1 MiB spent four fifths of its time so.
 */
const WRITE_BYTES_PER_CALL = 128 * 1024;

export interface DiskFileOptions {
  readonly readOnly: boolean;
  /** Past the page cache. */
  readonly direct?: boolean;
  /** Gives the process's ring; null where there is none. Asked only for files that gain by it. */
  readonly ring?: () => IoRing | null;
}

/** A transfer on its way through the ring. */
class Transfer {
  readonly iovec = new IovecArray();
  isWrite = false;
  offset = 0;
  done: BlockCompletion = () => {};
  readonly moved: (result: number) => void;

  constructor(onMoved: (transfer: Transfer, result: number) => void) {
    this.moved = (result) => onMoved(this, result);
  }
}

export class DiskFile {
  readonly fd: number;
  /** Whole sectors. */
  readonly sizeBytes: number;
  /** What offsets and lengths have to be multiples of. */
  readonly blockSizeBytes: number;
  readonly #memory: GuestMemory;
  readonly #ring: IoRing | null;
  readonly #iovec = new IovecArray();
  /** The iovec array belongs to a call that waits in the kernel; another thread's request makes its own. */
  #iovecBusy = false;
  readonly #idle: Transfer[] = [];
  /** What addresses of buffers have to be multiples of. */
  readonly #memoryAlignment: number;
  readonly #direct: boolean;
  /**
   * The error of a flush of cached data: the kernel forgets what it could not write, so that the next flush would
   * succeed over a hole. From then on every flush fails.
   */
  #lost = 0;
  #inFlight = 0;
  /** Something was changed since the last flush. */
  #dirty = false;

  /**
   * Opens and locks it: for writing by one, or for reading by many. Throws ThimbleError("disk_in_use"),
   * ThimbleError("bad_disk") or SystemError.
   */
  constructor(path: string, memory: GuestMemory, options: DiskFileOptions) {
    const { readOnly, direct = false } = options;
    this.#memory = memory;
    this.#direct = direct;
    this.fd = open(path, (readOnly ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0));
    try {
      if (!lockFile(this.fd, readOnly ? "shared" : "exclusive", path)) {
        throw new ThimbleError("disk_in_use", `the disk ${path} is in use by another VM or program`);
      }
      const isDevice = statFd(this.fd, path).kind === "block";
      this.sizeBytes = sizeOf(this.fd, path);
      const alignment = direct ? directAlignment(this.fd) : { memory: 1, offset: SECTOR_SIZE };
      this.#memoryAlignment = alignment.memory;
      this.blockSizeBytes = Math.max(alignment.offset, isDevice ? blockSizeOf(this.fd) : SECTOR_SIZE);
      const inMemory = MEMORY_FILE_SYSTEMS.includes(statfs(this.fd).type) && !isDevice;
      this.#ring = inMemory ? null : (options.ring?.() ?? null);
    } catch (error) {
      close(this.fd);
      throw error;
    }
  }

  /** Requests that have not completed. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether what is begun completes later. */
  get isAsynchronous(): boolean {
    return this.#ring !== null;
  }

  /** Reads into, or writes from, all of the segments. */
  transfer(isWrite: boolean, offset: number, segments: SegmentList, done: BlockCompletion): void {
    if (isWrite) this.#dirty = true;
    if (this.#memoryAlignment > 1 && !this.#isAligned(segments)) {
      this.#bounce(isWrite, offset, segments, done);
    } else if (this.#ring !== null) {
      const transfer = this.#take(isWrite, offset, done);
      transfer.iovec.fill(this.#memory, segments);
      this.#begin(this.#ring, transfer);
    } else {
      done(this.#transferNow(isWrite, offset, segments));
    }
  }

  /** Completes when everything completed before it is on stable storage. */
  sync(done: BlockCompletion): void {
    if (this.#lost !== 0) {
      done(this.#lost);
      return;
    }
    this.#dirty = false;
    const finish = (result: number) => {
      if (result < 0) this.#dirty = true;
      if (result < 0 && !this.#direct) this.#lost = -EIO;
      done(result < 0 && this.#lost !== 0 ? this.#lost : result);
    };
    if (this.#ring === null) finish(again(() => fdatasync(this.fd)));
    else this.#request(RingOp.fsync, 0, 0, 0, FSYNC_DATASYNC, finish);
  }

  /** fallocate(2). */
  allocate(mode: number, offset: number, length: number, done: BlockCompletion): void {
    this.#dirty = true;
    if (this.#ring === null) done(again(() => tryFallocate(this.fd, mode, offset, length)));
    else this.#request(RingOp.fallocate, offset, length, mode, 0, done);
  }

  /** Writes what an array of iovecs names, waiting for it. Returns 0 or a negative errno. */
  writeNow(offset: number, iovec: IovecArray): number {
    this.#dirty = true;
    return this.#run(true, offset, iovec);
  }

  submit(): void {
    this.#ring?.submit();
  }

  /** Flushes what the guest has not, and gives the file back. To be called with nothing in flight. */
  close(): void {
    if (this.#dirty) again(() => fdatasync(this.fd));
    close(this.fd);
  }

  #request(
    operation: number,
    offset: number,
    address: number,
    length: number,
    flags: number,
    done: BlockCompletion,
  ): void {
    const ring = this.#ring as IoRing;
    const retry = () => {
      ring.begin(operation, this.fd, offset, address, length, flags, (result) => {
        if (result === -EINTR || result === -EAGAIN) {
          retry();
        } else {
          this.#inFlight--;
          done(result);
        }
      });
    };
    this.#inFlight++;
    retry();
  }

  #take(isWrite: boolean, offset: number, done: BlockCompletion): Transfer {
    const transfer = this.#idle.pop() ?? new Transfer(this.#moved);
    transfer.isWrite = isWrite;
    transfer.offset = offset;
    transfer.done = done;
    this.#inFlight++;
    return transfer;
  }

  #begin(ring: IoRing, transfer: Transfer): void {
    const { iovec, isWrite } = transfer;
    if (iovec.count === 1) {
      const operation = isWrite ? RingOp.write : RingOp.read;
      ring.begin(
        operation,
        this.fd,
        transfer.offset,
        iovec.firstAddress,
        iovec.totalBytes,
        0,
        transfer.moved,
      );
    } else {
      const operation = isWrite ? RingOp.writev : RingOp.readv;
      const count = Math.min(iovec.count, IOV_MAX);
      ring.begin(operation, this.fd, transfer.offset, addressOf(iovec.words), count, 0, transfer.moved);
    }
  }

  readonly #moved = (transfer: Transfer, result: number): void => {
    const { iovec } = transfer;
    const isOver = result === iovec.totalBytes;
    if (!isOver && (result > 0 || result === -EINTR || result === -EAGAIN)) {
      if (result > 0) {
        iovec.advance(result);
        transfer.offset += result;
      }
      this.#begin(this.#ring as IoRing, transfer);
      return;
    }
    const { done } = transfer;
    this.#inFlight--;
    this.#idle.push(transfer);
    // Nothing moved: the file has become shorter than the disk.
    done(isOver ? 0 : result === 0 ? -EIO : result);
  };

  #transferNow(isWrite: boolean, offset: number, segments: SegmentList): number {
    if (this.#iovecBusy) {
      const own = new IovecArray();
      own.fill(this.#memory, segments);
      return this.#run(isWrite, offset, own);
    }
    this.#iovecBusy = true;
    this.#iovec.fill(this.#memory, segments);
    const result = this.#run(isWrite, offset, this.#iovec);
    this.#iovecBusy = false;
    return result;
  }

  /** Repeats the call until everything in the iovec array is transferred. Returns 0 or a negative errno. */
  #run(isWrite: boolean, start: number, iovec: IovecArray): number {
    for (let offset = start; iovec.totalBytes > 0; ) {
      const most = Math.min(isWrite ? iovec.countWithin(WRITE_BYTES_PER_CALL) : iovec.count, IOV_MAX);
      const result = (isWrite ? pwritev : preadv)(this.fd, iovec.words, most, offset);
      if (result === iovec.totalBytes) return 0;
      if (result === -EINTR || result === -EAGAIN) continue;
      if (result < 0) return result;
      if (result === 0) return -EIO; // the file has become shorter than the disk
      iovec.advance(result);
      offset += result;
    }
    return 0;
  }

  #isAligned(segments: SegmentList): boolean {
    const mask = this.#memoryAlignment - 1;
    for (let i = 0; i < segments.count; i++) {
      // Guest memory begins at page boundaries, so the guest's alignment is ours.
      if (((((segments.address[i] as number) % 4096) | (segments.length[i] as number)) & mask) !== 0)
        return false;
    }
    return true;
  }

  /** By way of a buffer that is aligned: drivers hardly ever need it. */
  #bounce(isWrite: boolean, offset: number, segments: SegmentList, done: BlockCompletion): void {
    const list = copyOf(segments);
    const total = bytesOf(list);
    const buffer = new Uint8Array(total + this.#memoryAlignment);
    const unaligned = addressOf(buffer) % this.#memoryAlignment;
    const start = unaligned === 0 ? 0 : this.#memoryAlignment - unaligned;
    const bytes = buffer.subarray(start, start + total);
    if (isWrite) gather(this.#memory, list, 0, bytes);
    const finish = (result: number) => {
      if (!isWrite && result === 0) scatter(this.#memory, list, 0, bytes);
      done(result);
    };
    if (this.#ring === null) {
      const own = new IovecArray();
      own.add(addressOf(bytes), total);
      finish(this.#run(isWrite, offset, own));
      return;
    }
    const transfer = this.#take(isWrite, offset, finish);
    transfer.iovec.clear();
    transfer.iovec.add(addressOf(bytes), total);
    this.#begin(this.#ring, transfer);
  }
}

function again(call: () => number): number {
  for (;;) {
    const result = call();
    if (result !== -EINTR) return result;
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

function blockSizeOf(fd: number): number {
  const size = new Uint32Array(1);
  ioctl(fd, BLKSSZGET, size, "BLKSSZGET");
  return size[0] as number;
}
