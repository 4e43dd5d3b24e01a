/**
 * An io_uring(7) of this process: requests are collected in memory shared with the kernel, handed over together with one
 * system call, and completed by callbacks, under the runtime lock: on the main thread, or within `submit`.
 *
 * Requests are kept as numbers in typed arrays; beginning and completing one allocates nothing. Whoever begins requests
 * calls `submit` when there are no more for now. What a request names (addresses, descriptors) has to stay until it
 * completes; an array of iovecs only until `submit` returns.
 */
import { struct, u32, u64 } from "../base/layout.ts";
import { EAGAIN, EBUSY, EINTR } from "./errno.ts";
import { close } from "./fs.ts";
import { EPOLLIN, type EventLoop, type Watch } from "./loop.ts";
import { type Mapping, mapShared } from "./memory.ts";
import { SYS } from "./syscall-numbers.ts";

/** IORING_OP_* (linux/io_uring.h). */
export const RingOp = { readv: 1, writev: 2, fsync: 3, fallocate: 17, read: 22, write: 23 } as const;
/** For `fsync`: data only (IORING_FSYNC_DATASYNC). */
export const FSYNC_DATASYNC = 1;

const SETUP_CQSIZE = 1 << 3;
const FEATURE_SINGLE_MMAP = 1 << 0;
const FEATURE_SUBMIT_STABLE = 1 << 2;
const OFFSET_RINGS = 0;
const OFFSET_SQES = 0x1000_0000;
const SQE_DWORDS = 16;
const CQE_DWORDS = 4;
const HIGH_DWORD = 0x1_0000_0000;

/** struct io_uring_params with its two tables of offsets; what is not used is left out by name only. */
const Params = struct("io_uring_params", "linux/io_uring.h", {
  sq_entries: u32,
  cq_entries: u32,
  flags: u32,
  sq_thread_cpu: u32,
  sq_thread_idle: u32,
  features: u32,
  wq_fd: u32,
  resv0: u32,
  resv1: u32,
  resv2: u32,
  sq_head: u32,
  sq_tail: u32,
  sq_ring_mask: u32,
  sq_ring_entries: u32,
  sq_flags: u32,
  sq_dropped: u32,
  sq_array: u32,
  sq_resv: u32,
  sq_user_addr: u64,
  cq_head: u32,
  cq_tail: u32,
  cq_ring_mask: u32,
  cq_ring_entries: u32,
  cq_overflow: u32,
  cq_cqes: u32,
  cq_flags: u32,
  cq_resv: u32,
  cq_user_addr: u64,
});

/** `result` is what the system call of the same name would return, or a negative errno. */
export type RingCompletion = (result: number) => void;

const nobody: RingCompletion = () => {};

export class IoRing {
  readonly #fd: number;
  readonly #rings: Mapping;
  readonly #entries: Mapping;
  readonly #watch: Watch;
  readonly #words: Uint32Array;
  readonly #sqes: Uint32Array;
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #sqMask: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqMask: number;
  readonly #cqes: number;
  /** By request number, which travels as user_data. */
  readonly #completions: RingCompletion[] = [];
  readonly #free: number[] = [];
  /** Requests beyond what the completion queue holds; rare, so they may cost. */
  readonly #waiting: (() => void)[] = [];
  #unsubmitted = 0;
  #inKernel = false;
  #reaping = false;

  /** A ring for `size` requests at once (a power of two); null where the kernel has none for us. */
  static tryOpen(loop: EventLoop, size: number): IoRing | null {
    const params = Params.encode({ flags: SETUP_CQSIZE, cq_entries: 2 * size });
    const fd = bridge.syscall(SYS.io_uring_setup, size, params);
    if (fd < 0) return null;
    const made = Params.decode(params);
    const needed = FEATURE_SINGLE_MMAP | FEATURE_SUBMIT_STABLE;
    if ((made.features & needed) === needed) return new IoRing(loop, fd, made);
    close(fd);
    return null;
  }

  private constructor(loop: EventLoop, fd: number, made: ReturnType<typeof Params.decode>) {
    this.#fd = fd;
    const ringBytes = Math.max(
      made.sq_array + 4 * made.sq_entries,
      made.cq_cqes + 4 * CQE_DWORDS * made.cq_entries,
    );
    this.#rings = mapShared(fd, OFFSET_RINGS, Math.ceil(ringBytes / 4) * 4);
    this.#entries = mapShared(fd, OFFSET_SQES, 4 * SQE_DWORDS * made.sq_entries);
    this.#words = new Uint32Array(this.#rings.view());
    this.#sqes = new Uint32Array(this.#entries.view());
    this.#sqHead = made.sq_head >>> 2;
    this.#sqTail = made.sq_tail >>> 2;
    this.#sqMask = made.sq_entries - 1;
    this.#cqHead = made.cq_head >>> 2;
    this.#cqTail = made.cq_tail >>> 2;
    this.#cqMask = made.cq_entries - 1;
    this.#cqes = made.cq_cqes >>> 2;
    // Entries are used in the order of their places, so the indirection stays as it is.
    for (let i = 0; i < made.sq_entries; i++) this.#words[(made.sq_array >>> 2) + i] = i;
    for (let i = made.cq_entries - 1; i >= 0; i--) this.#free.push(i);
    this.#watch = loop.watch(fd, EPOLLIN, () => this.#reap());
  }

  /** Requests begun and not completed. */
  get inFlight(): number {
    return this.#cqMask + 1 - this.#free.length + this.#waiting.length;
  }

  /**
   * Begins a request: `address` and `length` are a buffer, or an array of iovecs and their number (readv, writev); for
   * `fallocate` the length of the range and the mode.
   */
  begin(
    operation: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    flags: number,
    done: RingCompletion,
  ): void {
    const number = this.#free.pop();
    if (number === undefined) {
      this.#waiting.push(() => this.begin(operation, fd, offset, address, length, flags, done));
      return;
    }
    this.#completions[number] = done;
    const words = this.#words;
    const tail = words[this.#sqTail] as number;
    if (((tail - (words[this.#sqHead] as number)) | 0) > this.#sqMask) this.#enter();
    const at = (tail & this.#sqMask) * SQE_DWORDS;
    const sqes = this.#sqes;
    sqes.fill(0, at, at + SQE_DWORDS);
    const offsetHigh = Math.floor(offset / HIGH_DWORD);
    const addressHigh = Math.floor(address / HIGH_DWORD);
    sqes[at] = operation;
    sqes[at + 1] = fd;
    sqes[at + 2] = offset - offsetHigh * HIGH_DWORD;
    sqes[at + 3] = offsetHigh;
    sqes[at + 4] = address - addressHigh * HIGH_DWORD;
    sqes[at + 5] = addressHigh;
    sqes[at + 6] = length;
    sqes[at + 7] = flags;
    sqes[at + 8] = number;
    words[this.#sqTail] = tail + 1;
    this.#unsubmitted++;
  }

  /** Hands over what was begun, and completes what is done already. */
  submit(): void {
    // Another thread may get here while the first is in the kernel; the first looks again.
    if (this.#inKernel) return;
    while (this.#unsubmitted > 0) this.#enter();
    if (!this.#reaping) this.#reap();
  }

  /** To be called when nothing is in flight. */
  close(): void {
    this.#watch.close();
    this.#rings.unmap();
    this.#entries.unmap();
    close(this.#fd);
  }

  #enter(): void {
    this.#inKernel = true;
    const result = bridge.syscallBlocking(SYS.io_uring_enter, this.#fd, this.#unsubmitted, 0, 0, null, 0);
    this.#inKernel = false;
    if (result >= 0) this.#unsubmitted -= result;
    else if (result === -EBUSY || result === -EAGAIN) this.#reap();
    else if (result !== -EINTR) throw new Error(`io_uring_enter failed: errno ${-result}`);
  }

  #reap(): void {
    if (this.#reaping) return;
    this.#reaping = true;
    try {
      const words = this.#words;
      for (;;) {
        const head = words[this.#cqHead] as number;
        if (head === words[this.#cqTail]) break;
        const at = this.#cqes + (head & this.#cqMask) * CQE_DWORDS;
        const number = words[at] as number;
        const result = (words[at + 2] as number) | 0;
        words[this.#cqHead] = head + 1;
        const done = this.#completions[number] as RingCompletion;
        this.#completions[number] = nobody;
        this.#free.push(number);
        done(result);
        if (this.#waiting.length > 0) this.#waiting.shift()?.();
      }
    } finally {
      this.#reaping = false;
    }
    if (this.#unsubmitted > 0) this.submit();
  }
}
