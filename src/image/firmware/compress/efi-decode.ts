/**
 * Unpacks the UEFI compression and edk2's variant of it (efi-format.ts).
 *
 * Data flow: bits → per block three Huffman codes → symbols → bytes. Every loop is bounded by the size that the header
 * says and by the bits that are there, so damaged data end in an error or in wrong bytes, never in a hang.
 */
import { ThimbleError } from "../../../base/errors.ts";
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

const bad = (what: string): ThimbleError => new ThimbleError("bad_compressed_data", what);

/** Reads bits, the highest of each byte first. Past the end come zeros; `overrun` says how many bits too far. */
class BitReader {
  readonly #data: Uint8Array;
  #bit = 0;

  constructor(data: Uint8Array) {
    this.#data = data;
  }

  /** The next `count` (at most 24) bits without taking them. */
  peek(count: number): number {
    const at = this.#bit >>> 3;
    const data = this.#data;
    const word =
      ((data[at] ?? 0) << 24) |
      ((data[at + 1] ?? 0) << 16) |
      ((data[at + 2] ?? 0) << 8) |
      (data[at + 3] ?? 0);
    return count === 0 ? 0 : (word << (this.#bit & 7)) >>> (32 - count);
  }

  skip(count: number): void {
    this.#bit += count;
  }

  take(count: number): number {
    const value = this.peek(count);
    this.#bit += count;
    return value;
  }

  /** Whether more was taken than there is. */
  get exhausted(): boolean {
    return this.#bit > this.#data.length * 8;
  }
}

/**
 * A canonical Huffman code: symbols in the order of their codes, and how many codes there are of each length. Making one
 * costs no more than its symbols, so a flood of tiny blocks costs little.
 */
class Code {
  readonly #symbols: Uint16Array;
  readonly #counts: Uint16Array;

  private constructor(symbols: Uint16Array, counts: Uint16Array) {
    this.#symbols = symbols;
    this.#counts = counts;
  }

  /** The code of one symbol, which takes no bits. */
  static single(symbol: number): Code {
    return new Code(Uint16Array.of(symbol), Uint16Array.of(1));
  }

  /** Errors: `bad_compressed_data` unless the lengths make a complete code. */
  static fromLengths(lengths: Uint8Array, what: string): Code {
    const counts = new Uint16Array(CODE_BITS_MAX + 1);
    for (const bits of lengths) if (bits > 0) counts[bits] = (counts[bits] as number) + 1;
    const next = new Uint16Array(CODE_BITS_MAX + 2);
    let space = 0;
    for (let bits = 1; bits <= CODE_BITS_MAX; bits++) {
      const count = counts[bits] as number;
      next[bits + 1] = (next[bits] as number) + count;
      space += count << (CODE_BITS_MAX - bits);
    }
    if (space !== 1 << CODE_BITS_MAX) throw bad(`The ${what} code is not a complete one.`);
    const symbols = new Uint16Array(lengths.length);
    for (const [symbol, bits] of lengths.entries()) {
      if (bits === 0) continue;
      symbols[next[bits] as number] = symbol;
      next[bits] = (next[bits] as number) + 1;
    }
    return new Code(symbols, counts);
  }

  read(bits: BitReader): number {
    const window = bits.peek(CODE_BITS_MAX);
    const counts = this.#counts;
    let first = 0;
    let before = 0;
    for (let length = 0; length < counts.length; length++) {
      const code = window >>> (CODE_BITS_MAX - length);
      const count = counts[length] as number;
      if (code - first < count) {
        bits.skip(length);
        return this.#symbols[before + code - first] as number;
      }
      before += count;
      first = (first + count) << 1;
    }
    throw bad("Compressed data hold a code that there is none of.");
  }
}

/** A length below 7 is three bits; from 7 on, each further one bit counts one more. */
function readLength(bits: BitReader): number {
  let length = bits.take(3);
  if (length < 7) return length;
  while (bits.take(1) === 1) {
    length++;
    if (length > CODE_BITS_MAX) throw bad("A code length is over 16 bits.");
  }
  return length;
}

/** The code of positions, or of the character code's lengths. */
function readSmallCode(
  bits: BitReader,
  symbolsMax: number,
  countBits: number,
  zerosAfter: number,
  what: string,
): Code {
  const count = bits.take(countBits);
  if (count === 0) {
    const symbol = bits.take(countBits);
    if (symbol >= symbolsMax) throw bad(`The ${what} code has the symbol ${symbol}.`);
    return Code.single(symbol);
  }
  if (count > symbolsMax) throw bad(`The ${what} code has ${count} symbols, over ${symbolsMax}.`);
  const lengths = new Uint8Array(symbolsMax);
  let index = 0;
  while (index < count) {
    lengths[index++] = readLength(bits);
    if (index === zerosAfter) index += bits.take(2);
  }
  if (index > symbolsMax) throw bad(`The ${what} code has too many symbols.`);
  return Code.fromLengths(lengths, what);
}

function readCharCode(bits: BitReader, extra: Code): Code {
  const count = bits.take(CHAR_COUNT_BITS);
  if (count === 0) {
    const symbol = bits.take(CHAR_COUNT_BITS);
    if (symbol >= CHAR_SYMBOLS) throw bad(`The character code has the symbol ${symbol}.`);
    return Code.single(symbol);
  }
  if (count > CHAR_SYMBOLS) throw bad(`The character code has ${count} symbols, over ${CHAR_SYMBOLS}.`);
  const lengths = new Uint8Array(CHAR_SYMBOLS);
  let index = 0;
  while (index < count) {
    const symbol = extra.read(bits);
    if (symbol === 0) index += 1;
    else if (symbol === 1) index += shortRun.from + bits.take(shortRun.bits);
    else if (symbol === 2) index += longRun.from + bits.take(longRun.bits);
    else lengths[index++] = symbol - LENGTH_OFFSET;
  }
  if (index > CHAR_SYMBOLS) throw bad("The character code has too many symbols.");
  return Code.fromLengths(lengths, "character");
}

/** How many bytes the data say they unpack to. Errors: `bad_compressed_data`. */
export function efiOriginalBytes(data: Uint8Array): number {
  if (data.length < efiCompressedHeader.size)
    throw bad(`${data.length} bytes are too few for compressed data.`);
  return efiCompressedHeader.decode(data).originalBytes;
}

/**
 * Unpacks data with their header. `originalBytesMax` bounds what the header may claim.
 * Errors: `bad_compressed_data`.
 */
export function efiDecode(data: Uint8Array, variant: EfiVariant, originalBytesMax: number): Uint8Array {
  const { positionCountBits, windowBits } = variants[variant];
  const originalBytes = efiOriginalBytes(data);
  const { compressedBytes } = efiCompressedHeader.decode(data);
  const body = data.subarray(efiCompressedHeader.size);
  if (compressedBytes > body.length)
    throw bad(`Compressed data lack ${compressedBytes - body.length} bytes.`);
  if (originalBytes > originalBytesMax) {
    throw bad(`Compressed data claim to unpack to ${originalBytes} bytes, over ${originalBytesMax}.`);
  }
  const bits = new BitReader(body.subarray(0, compressedBytes));
  const out = new Uint8Array(originalBytes);
  let at = 0;
  while (at < originalBytes) {
    const symbols = bits.take(BLOCK_COUNT_BITS);
    if (symbols === 0 || bits.exhausted) throw bad("Compressed data end too early.");
    const extra = readSmallCode(bits, EXTRA_SYMBOLS, EXTRA_COUNT_BITS, EXTRA_ZEROS_AFTER, "length");
    const chars = readCharCode(bits, extra);
    const positions = readSmallCode(bits, windowBits + 1, positionCountBits, -1, "position");
    for (let i = 0; i < symbols && at < originalBytes; i++) {
      const symbol = chars.read(bits);
      if (symbol < LITERALS) {
        out[at++] = symbol;
        continue;
      }
      const position = positions.read(bits);
      const back = 1 + (position < 2 ? position : (1 << (position - 1)) + bits.take(position - 1));
      if (back > at) throw bad("Compressed data repeat bytes from before their start.");
      const end = Math.min(at + symbol - LITERALS + MATCH_MIN, originalBytes);
      while (at < end) {
        out[at] = out[at - back] as number;
        at++;
      }
    }
  }
  if (bits.exhausted) throw bad("Compressed data end too early.");
  return out;
}
