/**
 * DEFLATE (RFC 1951) for streams that are flushed often: one block with the fixed codes a call, matches only inside
 * the call's input. So a stream needs no memory of its own, and one Deflater serves any number of streams in turn.
 *
 * Written for an interpreter: one table lookup a symbol, one candidate a match. docs/decisions/0010-graphics.md has
 * the figures.
 */

/** RFC 1950, 2.2: deflate, window of 32 KiB, fastest. A stream begins with it. */
export const ZLIB_HEADER = Uint8Array.of(0x78, 0x01);

const MATCH_MIN = 3;
const MATCH_MAX = 258;
const WINDOW = 32768;
const HASH_BITS = 12;
/** Knuth's multiplicative hash: 2^32 over the golden ratio. */
const HASH_FACTOR = 0x9e37_79b1;
const END_OF_BLOCK = 256;

/** Codes with their bits in the order in which they are sent, and above them (from bit 16) how many bits. */
let literals: Uint32Array | null = null;
/** By match length, the extra bits included. */
let lengths: Uint32Array | null = null;
/** By distance code. */
let distances: Uint32Array | null = null;

function reversed(code: number, bits: number): number {
  let out = 0;
  for (let i = 0; i < bits; i++) out |= ((code >> i) & 1) << (bits - 1 - i);
  return out;
}

/** RFC 1951, 3.2.5 and 3.2.6. */
function buildTables(): void {
  literals = new Uint32Array(288);
  for (let symbol = 0; symbol < 288; symbol++) {
    const [code, bits] =
      symbol < 144
        ? [0x30 + symbol, 8]
        : symbol < 256
          ? [0x190 + symbol - 144, 9]
          : symbol < 280
            ? [symbol - 256, 7]
            : [0xc0 + symbol - 280, 8];
    literals[symbol] = reversed(code, bits) | (bits << 16);
  }
  lengths = new Uint32Array(MATCH_MAX + 1);
  for (let length = MATCH_MIN; length <= MATCH_MAX; length++) {
    const over = length - MATCH_MIN;
    // From 8 on each group of four codes has one extra bit more; the longest has a code of its own.
    const extra = length === MATCH_MAX || over < 8 ? 0 : 29 - Math.clz32(over);
    const symbol = length === MATCH_MAX ? 285 : 257 + extra * 4 + (over >> extra);
    const entry = literals[symbol] as number;
    const bits = entry >>> 16;
    lengths[length] = (entry & 0xffff) | ((over & ((1 << extra) - 1)) << bits) | ((bits + extra) << 16);
  }
  distances = Uint32Array.from({ length: 30 }, (_, symbol) => reversed(symbol, 5));
}

/** The most that `deflate` writes for so many bytes. */
export function deflatedMax(length: number): number {
  return length + (length >> 3) + 16;
}

export class Deflater {
  readonly #head = new Int32Array(1 << HASH_BITS);

  constructor() {
    if (literals === null) buildTables();
  }

  /**
   * Compresses `input[0, length)` to `out` from `at` on, ends on a byte (a sync flush, RFC 1951, 3.2.4) and returns
   * where. `out` has room for `deflatedMax(length)` bytes. The stream never ends: its last block is still to come.
   */
  deflate(input: Uint8Array, length: number, out: Uint8Array, at: number): number {
    const head = this.#head.fill(-WINDOW - 1);
    const literalOf = literals as Uint32Array;
    const lengthOf = lengths as Uint32Array;
    const distanceOf = distances as Uint32Array;
    const lastMatch = length - MATCH_MIN;
    let bits = 2; // not the last block; fixed codes
    let count = 3;
    let i = 0;
    while (i < length) {
      let match = 0;
      let distance = 0;
      const byte = input[i] as number;
      if (i <= lastMatch) {
        const key = byte | ((input[i + 1] as number) << 8) | ((input[i + 2] as number) << 16);
        const slot = Math.imul(key, HASH_FACTOR) >>> (32 - HASH_BITS);
        const from = head[slot] as number;
        head[slot] = i;
        distance = i - from;
        if (distance <= WINDOW && input[from] === byte) {
          const max = length - i < MATCH_MAX ? length - i : MATCH_MAX;
          match = 1;
          while (match < max && input[from + match] === input[i + match]) match++;
        }
      }
      if (match >= MATCH_MIN) {
        const entry = lengthOf[match] as number;
        bits |= (entry & 0xffff) << count;
        count += entry >>> 16;
        while (count >= 8) {
          out[at++] = bits;
          bits >>>= 8;
          count -= 8;
        }
        const over = distance - 1;
        const extra = over < 4 ? 0 : 30 - Math.clz32(over);
        bits |= (distanceOf[over < 4 ? over : 2 * extra + (over >> extra)] as number) << count;
        count += 5;
        bits |= (over & ((1 << extra) - 1)) << count;
        count += extra;
        i += match;
      } else {
        const entry = literalOf[byte] as number;
        bits |= (entry & 0xffff) << count;
        count += entry >>> 16;
        i++;
      }
      while (count >= 8) {
        out[at++] = bits;
        bits >>>= 8;
        count -= 8;
      }
    }
    const end = literalOf[END_OF_BLOCK] as number;
    bits |= (end & 0xffff) << count;
    count += (end >>> 16) + 3; // and the header of a stored block of no bytes
    while (count > 0) {
      out[at++] = bits;
      bits >>>= 8;
      count -= 8;
    }
    out[at++] = 0;
    out[at++] = 0;
    out[at++] = 0xff;
    out[at++] = 0xff;
    return at;
  }
}
