/** Bytes as literals and repetitions of earlier bytes: the first half of an LZ77 packer. */
import { MATCH_MAX, MATCH_MIN } from "./efi-format.ts";

/** A byte, or a repetition where `length` is not 0. */
export interface Token {
  readonly literal: number;
  readonly length: number;
  /** How far back, from 1. */
  readonly distance: number;
}

const HASH_BITS = 16;
/** Earlier places looked at for each byte: more pack better, and take longer. */
const CANDIDATES_MAX = 128;

/** The longest repetition at each place, unless the next place has a longer one. */
export function* findRepetitions(data: Uint8Array, windowBytes: number): Generator<Token> {
  const finder = new Finder(data, windowBytes);
  let at = 0;
  let found = finder.longestAt(0);
  while (at < data.length) {
    const next = finder.longestAt(at + 1);
    if (found.length < MATCH_MIN || next.length > found.length) {
      yield { literal: data[at] as number, length: 0, distance: 0 };
      at++;
      found = next;
      continue;
    }
    yield { literal: 0, ...found };
    const end = at + found.length;
    for (let place = at + 2; place < end; place++) finder.enter(place);
    found = found.length === 1 ? next : finder.longestAt(end);
    at = end;
  }
}

/** Chains of places with the same first three bytes. */
class Finder {
  readonly #data: Uint8Array;
  readonly #windowBytes: number;
  readonly #newest = new Int32Array(1 << HASH_BITS).fill(-1);
  readonly #older: Int32Array;
  #entered = -1;

  constructor(data: Uint8Array, windowBytes: number) {
    this.#data = data;
    this.#windowBytes = windowBytes;
    this.#older = new Int32Array(data.length);
  }

  #hash(at: number): number {
    const data = this.#data;
    const three = ((data[at] as number) << 16) | ((data[at + 1] as number) << 8) | (data[at + 2] as number);
    return Math.imul(three, 0x9e3779b1) >>> (32 - HASH_BITS);
  }

  /** Makes a place known to later ones. Places come in order; one that is known already is passed over. */
  enter(at: number): void {
    if (at <= this.#entered || at + MATCH_MIN > this.#data.length) return;
    const hash = this.#hash(at);
    this.#older[at] = this.#newest[hash] as number;
    this.#newest[hash] = at;
    this.#entered = at;
  }

  /** The longest repetition at a place, which is known from then on; length 0 when there is none. */
  longestAt(at: number): { length: number; distance: number } {
    const data = this.#data;
    let best = { length: 0, distance: 0 };
    if (at + MATCH_MIN > data.length) return best;
    const lengthMax = Math.min(MATCH_MAX, data.length - at);
    let candidate =
      at <= this.#entered ? (this.#older[at] as number) : (this.#newest[this.#hash(at)] as number);
    this.enter(at);
    for (let tries = 0; tries < CANDIDATES_MAX && candidate >= 0; tries++) {
      if (at - candidate > this.#windowBytes) break;
      let length = 0;
      while (length < lengthMax && data[candidate + length] === data[at + length]) length++;
      if (length >= MATCH_MIN && length > best.length) {
        best = { length, distance: at - candidate };
        if (length === lengthMax) break;
      }
      candidate = this.#older[candidate] as number;
    }
    return best;
  }
}
