/** A disk that may be held to a rate of bytes and of operations. What is over the rate waits here, in order. */
import { TokenBucket } from "../../base/token-bucket.ts";
import type { DiskLimits } from "../config.ts";
import type { BlockBackend, BlockCompletion, Clock, SegmentList } from "../contract.ts";
import { bytesOf, copyOf } from "../virtio/segments.ts";

/** A disk that was idle may do at once what it may do in this time. */
const BURST_SECONDS = 0.1;

export class LimitedDisk implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly blockSizeBytes: number;
  readonly #inner: BlockBackend;
  readonly #clock: Clock;
  readonly #waiting: { readonly bytes: number; readonly begin: () => void }[] = [];
  #bytes: TokenBucket | null = null;
  #operations: TokenBucket | null = null;
  #timer: (() => void) | null = null;

  constructor(inner: BlockBackend, limits: DiskLimits, clock: Clock) {
    this.#inner = inner;
    this.#clock = clock;
    this.sizeBytes = inner.sizeBytes;
    this.readOnly = inner.readOnly;
    this.blockSizeBytes = inner.blockSizeBytes ?? 512;
    this.setLimits(limits);
  }

  /** Changes the limits; what waits goes by the new ones. */
  setLimits({ bytesPerSecond, operationsPerSecond }: DiskLimits): void {
    this.#bytes = this.#bucket(this.#bytes, bytesPerSecond);
    this.#operations = this.#bucket(this.#operations, operationsPerSecond);
    this.#proceed();
  }

  read(offset: number, segments: SegmentList, done: BlockCompletion): void {
    if (this.#isFree()) {
      this.#inner.read(offset, segments, done);
      return;
    }
    const bytes = bytesOf(segments);
    if (this.#mayGo(bytes)) {
      this.#inner.read(offset, segments, done);
      return;
    }
    const list = copyOf(segments);
    this.#wait(bytes, () => this.#inner.read(offset, list, done));
  }

  write(offset: number, segments: SegmentList, done: BlockCompletion): void {
    if (this.#isFree()) {
      this.#inner.write(offset, segments, done);
      return;
    }
    const bytes = bytesOf(segments);
    if (this.#mayGo(bytes)) {
      this.#inner.write(offset, segments, done);
      return;
    }
    const list = copyOf(segments);
    this.#wait(bytes, () => this.#inner.write(offset, list, done));
  }

  /** Not limited: it is about what has been done already. */
  flush(done: BlockCompletion): void {
    this.#inner.flush(done);
  }

  discard(offset: number, length: number, done: BlockCompletion): void {
    this.#oneOperation(() => this.#inner.discard(offset, length, done));
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean, done: BlockCompletion): void {
    this.#oneOperation(() => this.#inner.writeZeroes(offset, length, mayUnmap, done));
  }

  submit(): void {
    this.#inner.submit();
  }

  close(): void {
    this.#timer?.();
    this.#waiting.length = 0;
    this.#inner.close();
  }

  /** Without limits, as most disks are. */
  #isFree(): boolean {
    return this.#bytes === null && this.#operations === null && this.#waiting.length === 0;
  }

  #oneOperation(begin: () => void): void {
    if (this.#mayGo(0)) begin();
    else this.#wait(0, begin);
  }

  #bucket(present: TokenBucket | null, rate: number | undefined): TokenBucket | null {
    if (rate === undefined) return null;
    const burst = Math.max(1, rate * BURST_SECONDS);
    const nowMs = this.#clock.monotonicMs();
    if (present === null) return new TokenBucket(rate, burst, nowMs);
    present.change(rate, burst, nowMs);
    return present;
  }

  /** Whether a request may begin now, behind none that waits; then it is paid for. */
  #mayGo(bytes: number): boolean {
    if (this.#waiting.length > 0 || this.#waitMs() > 0) return false;
    this.#spend(bytes);
    return true;
  }

  #waitMs(): number {
    const nowMs = this.#clock.monotonicMs();
    return Math.max(this.#bytes?.waitMs(nowMs) ?? 0, this.#operations?.waitMs(nowMs) ?? 0);
  }

  #spend(bytes: number): void {
    this.#bytes?.spend(bytes);
    this.#operations?.spend(1);
  }

  #wait(bytes: number, begin: () => void): void {
    this.#waiting.push({ bytes, begin });
    this.#arm();
  }

  #arm(): void {
    this.#timer ??= this.#clock.after(this.#waitMs(), () => this.#proceed());
  }

  #proceed(): void {
    this.#timer?.();
    this.#timer = null;
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (this.#waitMs() > 0) {
        this.#arm();
        break;
      }
      this.#spend(first.bytes);
      this.#waiting.shift();
      first.begin();
    }
    this.#inner.submit();
  }
}
