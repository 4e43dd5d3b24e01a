/**
 * Unpacks raw DEFLATE data (RFC 1951) from outside, into a target whose size is known. Codes are decoded by their count
 * per length, bit by bit, which needs no tables but the code itself.
 */
import { ThimbleError } from "./errors.ts";

const CODE_BITS_MAX = 15;
const END_OF_BLOCK = 256;
const LITERALS = 288;
const DISTANCES = 30;
/** RFC 1951, 3.2.7: the order in which lengths of code length codes are sent. */
const LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** A Huffman code: how many codes there are of each length, and their symbols in order. */
interface Code {
  readonly counts: Uint16Array;
  readonly symbols: Uint16Array;
}

function codeOf(lengths: Uint8Array): Code {
  const counts = new Uint16Array(CODE_BITS_MAX + 1);
  for (const length of lengths) counts[length] = (counts[length] as number) + 1;
  counts[0] = 0;
  let left = 1;
  for (let bits = 1; bits <= CODE_BITS_MAX; bits++) {
    left = 2 * left - (counts[bits] as number);
    if (left < 0) throw damaged("more codes than there can be");
  }
  const next = new Uint16Array(CODE_BITS_MAX + 2);
  for (let bits = 1; bits <= CODE_BITS_MAX; bits++)
    next[bits + 1] = (next[bits] as number) + (counts[bits] as number);
  const symbols = new Uint16Array(lengths.length);
  lengths.forEach((length, symbol) => {
    if (length === 0) return;
    const at = next[length] as number;
    symbols[at] = symbol;
    next[length] = at + 1;
  });
  return { counts, symbols };
}

let fixed: { readonly literals: Code; readonly distances: Code } | null = null;

/** RFC 1951, 3.2.6. */
function fixedCodes(): { readonly literals: Code; readonly distances: Code } {
  if (fixed === null) {
    const lengths = new Uint8Array(LITERALS).fill(8).fill(9, 144, 256).fill(7, 256, 280);
    fixed = { literals: codeOf(lengths), distances: codeOf(new Uint8Array(DISTANCES).fill(5)) };
  }
  return fixed;
}

/**
 * Fills `target` from the beginning of `packed`; what follows in `packed` is left alone. Throws
 * ThimbleError("bad_data") when the data are damaged, end too early, or are of another size.
 */
export function inflate(packed: Uint8Array, target: Uint8Array): void {
  const length = new Inflater(packed, target).run();
  if (length !== target.length) throw damaged(`${length} bytes instead of ${target.length}`);
}

class Inflater {
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  #at = 0;
  #bits = 0;
  #bitCount = 0;
  #done = 0;

  constructor(packed: Uint8Array, target: Uint8Array) {
    this.#in = packed;
    this.#out = target;
  }

  /** Returns how many bytes came out. */
  run(): number {
    for (let last = 0; last === 0; ) {
      last = this.#take(1);
      const type = this.#take(2);
      if (type === 0) this.#stored();
      else if (type === 1) this.#block(fixedCodes().literals, fixedCodes().distances);
      else if (type === 2) this.#dynamic();
      else throw damaged("a block of unknown kind");
    }
    return this.#done;
  }

  #take(count: number): number {
    while (this.#bitCount < count) {
      if (this.#at >= this.#in.length) throw damaged("they end too early");
      this.#bits |= (this.#in[this.#at++] as number) << this.#bitCount;
      this.#bitCount += 8;
    }
    const value = this.#bits & ((1 << count) - 1);
    this.#bits >>>= count;
    this.#bitCount -= count;
    return value;
  }

  #symbol({ counts, symbols }: Code): number {
    let code = 0;
    let first = 0;
    let index = 0;
    for (let bits = 1; bits <= CODE_BITS_MAX; bits++) {
      code |= this.#take(1);
      const count = counts[bits] as number;
      if (code - first < count) return symbols[index + code - first] as number;
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw damaged("a code that there is not");
  }

  #stored(): void {
    this.#bits = this.#bitCount = 0;
    const at = this.#at;
    if (at + 4 > this.#in.length) throw damaged("they end too early");
    const size = (this.#in[at] as number) | ((this.#in[at + 1] as number) << 8);
    const check = (this.#in[at + 2] as number) | ((this.#in[at + 3] as number) << 8);
    if ((size ^ check) !== 0xffff) throw damaged("a stored block of uncertain length");
    if (at + 4 + size > this.#in.length) throw damaged("they end too early");
    this.#reserve(size);
    this.#out.set(this.#in.subarray(at + 4, at + 4 + size), this.#done);
    this.#done += size;
    this.#at = at + 4 + size;
  }

  #dynamic(): void {
    const literals = this.#take(5) + 257;
    const distances = this.#take(5) + 1;
    const lengthCodes = this.#take(4) + 4;
    const lengths = new Uint8Array(LENGTH_ORDER.length);
    for (let i = 0; i < lengthCodes; i++) lengths[LENGTH_ORDER[i] as number] = this.#take(3);
    const lengthCode = codeOf(lengths);
    const all = new Uint8Array(literals + distances);
    for (let i = 0; i < all.length; ) {
      const symbol = this.#symbol(lengthCode);
      if (symbol < 16) {
        all[i++] = symbol;
        continue;
      }
      if (symbol === 16 && i === 0) throw damaged("a length that repeats nothing");
      const value = symbol === 16 ? (all[i - 1] as number) : 0;
      const count =
        symbol === 16 ? 3 + this.#take(2) : symbol === 17 ? 3 + this.#take(3) : 11 + this.#take(7);
      if (i + count > all.length) throw damaged("more code lengths than codes");
      all.fill(value, i, i + count);
      i += count;
    }
    this.#block(codeOf(all.subarray(0, literals)), codeOf(all.subarray(literals)));
  }

  #block(literals: Code, distances: Code): void {
    const out = this.#out;
    for (;;) {
      const symbol = this.#symbol(literals);
      if (symbol === END_OF_BLOCK) return;
      if (symbol < END_OF_BLOCK) {
        this.#reserve(1);
        out[this.#done++] = symbol;
        continue;
      }
      const length = this.#length(symbol - END_OF_BLOCK - 1);
      const distance = this.#distance(this.#symbol(distances));
      if (distance > this.#done) throw damaged("a copy from before the beginning");
      this.#reserve(length);
      // Byte by byte: the copy may read what it has just written.
      for (let i = 0; i < length; i++, this.#done++) out[this.#done] = out[this.#done - distance] as number;
    }
  }

  /** RFC 1951, 3.2.5: four codes share a number of extra bits; the last code is 258 itself. */
  #length(code: number): number {
    if (code === 28) return 258;
    if (code > 28) throw damaged("a length that there is not");
    if (code < 8) return 3 + code;
    const extra = (code >> 2) - 1;
    return 3 + ((4 + (code & 3)) << extra) + this.#take(extra);
  }

  /** The same with two codes. */
  #distance(code: number): number {
    if (code >= DISTANCES) throw damaged("a distance that there is not");
    if (code < 4) return 1 + code;
    const extra = (code >> 1) - 1;
    return 1 + ((2 + (code & 1)) << extra) + this.#take(extra);
  }

  #reserve(count: number): void {
    if (this.#done + count > this.#out.length) throw damaged(`more than ${this.#out.length} bytes`);
  }
}

function damaged(what: string): ThimbleError {
  return new ThimbleError("bad_data", `The compressed data are damaged: ${what}.`);
}
