/** Cuts what a guest sends into lines. It may send anything, at any size: nothing here grows with it. */

const NEWLINE = 0x0a;
/** What a guest's agent sends before the answer to guest-sync-delimited: it is part of no JSON text. */
export const SENTINEL = 0xff;
/** Lists of hundreds of addresses fit. */
export const LINE_MAX = 256 * 1024;
const BUFFER_MIN = 4096;

export class Lines {
  #buffer = new Uint8Array(BUFFER_MIN);
  #size = 0;

  /** Takes bytes and calls back with each line, without its end. False when one is too long: nothing more comes. */
  take(bytes: Uint8Array, line: (bytes: Uint8Array) => void): boolean {
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      if (!this.#append(bytes.subarray(start, end))) return false;
      const { length } = this.#buffer;
      const whole = this.#buffer.subarray(0, this.#size);
      // A large buffer goes with its line.
      if (length > BUFFER_MIN) this.#buffer = new Uint8Array(BUFFER_MIN);
      this.#size = 0;
      line(whole);
      start = end + 1;
    }
    return this.#append(bytes.subarray(start));
  }

  #append(bytes: Uint8Array): boolean {
    const size = this.#size + bytes.length;
    if (size > LINE_MAX) return false;
    if (size > this.#buffer.length) {
      // Doubling keeps the copies in proportion to what was sent, in however small pieces.
      const larger = new Uint8Array(Math.min(LINE_MAX, Math.max(size, this.#buffer.length * 2)));
      larger.set(this.#buffer.subarray(0, this.#size));
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#size);
    this.#size = size;
    return true;
  }
}
