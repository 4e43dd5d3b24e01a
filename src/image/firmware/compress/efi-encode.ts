/**
 * Packs with the UEFI compression or edk2's variant of it (efi-format.ts).
 *
 * Data flow: bytes → literals and repetitions (repetitions.ts) → blocks of them → per block three Huffman codes and bits.
 * The same input gives the same bytes.
 */
import {
  BLOCK_COUNT_BITS,
  CHAR_COUNT_BITS,
  CHAR_SYMBOLS,
  CODE_BITS_MAX,
  type EfiVariant,
  EXTRA_COUNT_BITS,
  EXTRA_SYMBOLS,
  EXTRA_ZEROS_AFTER,
  efiCompressedHeader,
  LENGTH_OFFSET,
  LITERALS,
  longRun,
  MATCH_MIN,
  shortRun,
  variants,
} from "./efi-format.ts";
import { codeLengths, codesOf } from "./huffman.ts";
import { findRepetitions, type Token } from "./repetitions.ts";

/** Codes that fit the data weigh more than the bytes that describe them from about here on. */
const BLOCK_SYMBOLS = 16 * 1024;

const SHORT_RUN_MAX = shortRun.from + (1 << shortRun.bits) - 1;
const LONG_RUN_MAX = longRun.from + (1 << longRun.bits) - 1;

/** Collects bits, the highest of each byte first. */
class BitWriter {
  #bytes = new Uint8Array(64 * 1024);
  #length = 0;
  #pending = 0;
  #pendingBits = 0;

  /** Appends the low `count` (at most 24) bits of `value`. */
  put(value: number, count: number): void {
    this.#pending = (this.#pending << count) | value;
    this.#pendingBits += count;
    while (this.#pendingBits >= 8) {
      this.#pendingBits -= 8;
      this.#byte((this.#pending >>> this.#pendingBits) & 0xff);
    }
    this.#pending &= (1 << this.#pendingBits) - 1;
  }

  #byte(value: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = value;
  }

  /** Everything so far; the last byte is filled with zeros. */
  finish(): Uint8Array {
    if (this.#pendingBits > 0) this.put(0, 8 - this.#pendingBits);
    return this.#bytes.slice(0, this.#length);
  }
}

/** The code a distance has, and the bits that follow it: its highest bit is told by the code. */
function positionCode(distance: number): number {
  const value = distance - 1;
  return value < 2 ? value : 32 - Math.clz32(value);
}

function symbolOf({ literal, length }: Token): number {
  return length === 0 ? literal : LITERALS + length - MATCH_MIN;
}

/** Symbols up to the last one in use. */
function usedCount(lengths: Uint8Array): number {
  let count = lengths.length;
  while (count > 0 && lengths[count - 1] === 0) count--;
  return count;
}

/** The only symbol in use where there are not two: such a code is written as that symbol and takes no bits. */
function soleSymbol(frequencies: Uint32Array): number | undefined {
  let sole = 0;
  let used = 0;
  for (const [symbol, frequency] of frequencies.entries()) {
    if (frequency === 0) continue;
    sole = symbol;
    used++;
  }
  return used < 2 ? sole : undefined;
}

interface Code {
  readonly lengths: Uint8Array;
  readonly codes: Uint16Array;
  readonly sole: number | undefined;
}

function makeCode(frequencies: Uint32Array): Code {
  const sole = soleSymbol(frequencies);
  if (sole !== undefined) {
    const none = frequencies.length;
    return { sole, lengths: new Uint8Array(none), codes: new Uint16Array(none) };
  }
  const lengths = codeLengths(frequencies, CODE_BITS_MAX);
  return { sole, lengths, codes: codesOf(lengths) };
}

function putSymbol(out: BitWriter, code: Code, symbol: number): void {
  if (code.sole === undefined) out.put(code.codes[symbol] as number, code.lengths[symbol] as number);
}

function putSole(out: BitWriter, symbol: number, countBits: number): void {
  out.put(0, countBits);
  out.put(symbol, countBits);
}

function putSmallCode(out: BitWriter, code: Code, countBits: number, zerosAfter: number): void {
  if (code.sole !== undefined) {
    putSole(out, code.sole, countBits);
    return;
  }
  const count = usedCount(code.lengths);
  out.put(count, countBits);
  let index = 0;
  while (index < count) {
    const length = code.lengths[index++] as number;
    if (length < 7) out.put(length, 3);
    else {
      out.put(7, 3);
      out.put((1 << (length - 6)) - 2, length - 6); // a one for each above 7, and a zero
    }
    if (index !== zerosAfter) continue;
    let zeros = 0;
    while (zeros < 3 && index < count && code.lengths[index] === 0) {
      zeros++;
      index++;
    }
    out.put(zeros, 2);
  }
}

/** The character code's lengths as symbols of the extra code: calls `put(symbol, bits, bitCount)` for each. */
function eachLengthSymbol(
  lengths: Uint8Array,
  put: (symbol: number, bits: number, count: number) => void,
): void {
  const count = usedCount(lengths);
  let index = 0;
  while (index < count) {
    const length = lengths[index] as number;
    if (length > 0) {
      put(length + LENGTH_OFFSET, 0, 0);
      index++;
      continue;
    }
    let zeros = 0;
    while (index + zeros < count && lengths[index + zeros] === 0) zeros++;
    // A short run reaches up to 18, a long one starts at 20: 19 zeros are a short run and one more.
    if (zeros >= longRun.from) {
      const run = Math.min(zeros, LONG_RUN_MAX);
      put(2, run - longRun.from, longRun.bits);
      index += run;
    } else if (zeros >= shortRun.from) {
      const run = Math.min(zeros, SHORT_RUN_MAX);
      put(1, run - shortRun.from, shortRun.bits);
      index += run;
    } else {
      put(0, 0, 0);
      index++;
    }
  }
}

function putBlock(out: BitWriter, tokens: readonly Token[], variant: EfiVariant): void {
  const { positionCountBits, windowBits } = variants[variant];
  const charFrequencies = new Uint32Array(CHAR_SYMBOLS);
  const positionFrequencies = new Uint32Array(windowBits + 1);
  const count = (of: Uint32Array, symbol: number): void => {
    of[symbol] = (of[symbol] as number) + 1;
  };
  for (const token of tokens) {
    count(charFrequencies, symbolOf(token));
    if (token.length > 0) count(positionFrequencies, positionCode(token.distance));
  }
  const chars = makeCode(charFrequencies);
  const positions = makeCode(positionFrequencies);

  out.put(tokens.length, BLOCK_COUNT_BITS);
  if (chars.sole === undefined) {
    const extraFrequencies = new Uint32Array(EXTRA_SYMBOLS);
    eachLengthSymbol(chars.lengths, (symbol) => count(extraFrequencies, symbol));
    const extra = makeCode(extraFrequencies);
    putSmallCode(out, extra, EXTRA_COUNT_BITS, EXTRA_ZEROS_AFTER);
    out.put(usedCount(chars.lengths), CHAR_COUNT_BITS);
    eachLengthSymbol(chars.lengths, (symbol, bits, bitCount) => {
      putSymbol(out, extra, symbol);
      out.put(bits, bitCount);
    });
  } else {
    putSole(out, 0, EXTRA_COUNT_BITS);
    putSole(out, chars.sole, CHAR_COUNT_BITS);
  }
  putSmallCode(out, positions, positionCountBits, -1);

  for (const token of tokens) {
    putSymbol(out, chars, symbolOf(token));
    if (token.length === 0) continue;
    const code = positionCode(token.distance);
    putSymbol(out, positions, code);
    if (code > 1) out.put(token.distance - 1 - (1 << (code - 1)), code - 1);
  }
}

/** Packs data, header included. */
export function efiEncode(data: Uint8Array, variant: EfiVariant): Uint8Array {
  const out = new BitWriter();
  let block: Token[] = [];
  for (const token of findRepetitions(data, 1 << variants[variant].windowBits)) {
    block.push(token);
    if (block.length < BLOCK_SYMBOLS) continue;
    putBlock(out, block, variant);
    block = [];
  }
  if (block.length > 0) putBlock(out, block, variant);
  const body = out.finish();
  const result = new Uint8Array(efiCompressedHeader.size + body.length);
  efiCompressedHeader.patch(result, 0, { compressedBytes: body.length, originalBytes: data.length });
  result.set(body, efiCompressedHeader.size);
  return result;
}
