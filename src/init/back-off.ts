/** How long to wait before a process that ended is started again. Pure, so that its rules can be tested. */

const FIRST_DELAY_MS = 1000;
const LAST_DELAY_MS = 30_000;
/** One that ran this long was healthy; what ended it is not what ends it at every start. */
const STABLE_MS = 60_000;

export class BackOff {
  #delayMs = FIRST_DELAY_MS;

  /** The delay after a run of `ranMs`: doubles with each short run, starts over after a long one. */
  next(ranMs: number): number {
    if (ranMs >= STABLE_MS) this.#delayMs = FIRST_DELAY_MS;
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(delayMs * 2, LAST_DELAY_MS);
    return delayMs;
  }
}
