/** The last bytes of an endless output. */
export class Scrollback {
  readonly #ring: Uint8Array<ArrayBuffer>;
  /** Bytes ever appended; the next goes to this position modulo the ring's size. */
  #total = 0;

  constructor(capacityBytes: number) {
    this.#ring = new Uint8Array(capacityBytes);
  }

  append(bytes: Uint8Array): void {
    const ring = this.#ring;
    const kept = bytes.length > ring.length ? bytes.subarray(bytes.length - ring.length) : bytes;
    this.#total += bytes.length - kept.length;
    const at = this.#total % ring.length;
    const first = Math.min(kept.length, ring.length - at);
    ring.set(kept.subarray(0, first), at);
    ring.set(kept.subarray(first), 0);
    this.#total += kept.length;
  }

  /** A copy of what is kept, oldest first. */
  content(): Uint8Array<ArrayBuffer> {
    const ring = this.#ring;
    if (this.#total <= ring.length) return ring.slice(0, this.#total);
    const at = this.#total % ring.length;
    const out = new Uint8Array(ring.length);
    out.set(ring.subarray(at), 0);
    out.set(ring.subarray(0, at), ring.length - at);
    return out;
  }
}
