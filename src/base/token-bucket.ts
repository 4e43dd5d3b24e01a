/**
 * A token bucket: what holds a disk or a network interface to a rate.
 *
 * It fills at a steady rate up to its burst. Work may begin while there is something in it, and then takes what it
 * turns out to need, below zero if it must: so how much that is need not be known before, nor fit the burst. In any
 * time t at most `burst + rate × t` is spent, and the last piece of work beyond.
 *
 *     const wait = bucket.waitMs(now);     // 0: go on; else: come back then
 *     if (wait === 0) bucket.spend(bytes);
 */
export class TokenBucket {
  // Plain fields: the interpreter reads them faster than #private ones, and this runs once a packet.
  private perMs = 0;
  private burst = 0;
  /** What is in it at `filledMs`; negative: owed. */
  private level = 0;
  private filledMs: number;

  /** Full at first. `ratePerSecond` and `burst` are positive, in the same unit (bytes, operations); times are in milliseconds. */
  constructor(ratePerSecond: number, burst: number, nowMs: number) {
    this.filledMs = nowMs;
    this.set(ratePerSecond, burst);
    this.level = burst;
  }

  /** Changes the limit from now on; what is in the bucket stays, as far as it fits. */
  change(ratePerSecond: number, burst: number, nowMs: number): void {
    this.fill(nowMs);
    this.set(ratePerSecond, burst);
    this.level = Math.min(this.level, burst);
  }

  /** Whole milliseconds until work may begin: 0 when it may now. */
  waitMs(nowMs: number): number {
    this.fill(nowMs);
    return this.level > 0 ? 0 : Math.floor(-this.level / this.perMs) + 1;
  }

  /** Takes what work needed that was begun when `waitMs` was 0. */
  spend(amount: number): void {
    this.level -= amount;
  }

  private set(ratePerSecond: number, burst: number): void {
    if (!(ratePerSecond > 0 && burst > 0)) throw new RangeError("a token bucket needs a rate and a burst");
    this.perMs = ratePerSecond / 1000;
    this.burst = burst;
  }

  private fill(nowMs: number): void {
    // A clock that goes back gives nothing, and what it gave before it does not give again.
    if (nowMs <= this.filledMs) return;
    const level = this.level + (nowMs - this.filledMs) * this.perMs;
    this.level = level < this.burst ? level : this.burst;
    this.filledMs = nowMs;
  }
}
