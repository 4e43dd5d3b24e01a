/**
 * ZRLE (RFC 6143, 7.7.6): tiles of 64 x 64 pixels, each in the shortest of a few forms, all deflated.
 *
 * A tile is read once, into runs of equal pixels and the palette of their colours; the form is chosen by their numbers,
 * and everything is written from the runs. Only colours that are written are converted to the client's format.
 */
import { Deflater, deflatedMax, ZLIB_HEADER } from "../../base/deflate.ts";
import { PACKED_PALETTE_MAX, PALETTE_MAX, Subencoding, TILE } from "./bits.ts";
import type { PixelTables } from "./pixel-format.ts";

const TILE_PIXELS = TILE * TILE;
const COLOUR = 0xff_ffff;
/** Slots of the palette's hash table: sparse with 127 colours. */
const HASH_SLOTS = 512;
/** Multiplies a colour so that its upper bits are well mixed. */
const HASH_FACTOR = 0x9e37_79b1;
const HASH_SHIFT = 32 - 9;
const LENGTH_BYTES = 4;

/** The most tile data that so many pixels become: raw pixels and a byte a tile (a rectangle has at least one a row of tiles). */
function tileBytesMax(pixels: number): number {
  return pixels * 4 + pixels / TILE + 64;
}

/** Room an encoded rectangle may take. */
export function zrleBytesMax(pixels: number): number {
  return LENGTH_BYTES + ZLIB_HEADER.length + deflatedMax(tileBytesMax(pixels));
}

export class ZrleEncoder {
  readonly #deflater = new Deflater();
  readonly #data: Uint8Array;
  #end = 0;
  /** Runs of the tile at hand: colour and length. */
  readonly #colours = new Uint32Array(TILE_PIXELS);
  readonly #lengths = new Uint16Array(TILE_PIXELS);
  #runs = 0;
  readonly #palette = new Uint32Array(PALETTE_MAX);
  /** More than PALETTE_MAX: too many. */
  #paletteSize = 0;
  /** Colour + 1 by hash, 0 where free, and its place in the palette. */
  readonly #slots = new Uint32Array(HASH_SLOTS);
  readonly #places = new Uint8Array(HASH_SLOTS);

  /** For rectangles of at most `pixelsMax` pixels. */
  constructor(pixelsMax: number) {
    this.#data = new Uint8Array(tileBytesMax(pixelsMax));
  }

  /**
   * Writes the rectangle of `width` x `height` pixels whose first is `source[start]`, as ZRLE's length and data, to
   * `out` at `at`. `begin`: the client's stream begins with it. Returns where it ends.
   */
  encode(
    source: Uint32Array,
    start: number,
    stride: number,
    width: number,
    height: number,
    tables: PixelTables,
    begin: boolean,
    out: Uint8Array,
    at: number,
  ): number {
    this.#end = 0;
    for (let y = 0; y < height; y += TILE) {
      const tileHeight = Math.min(TILE, height - y);
      for (let x = 0; x < width; x += TILE) {
        const tileWidth = Math.min(TILE, width - x);
        this.#readTile(source, start + y * stride + x, stride, tileWidth, tileHeight);
        this.#writeTile(tileWidth, tileHeight, tables);
      }
    }
    let end = at + LENGTH_BYTES;
    if (begin) {
      out.set(ZLIB_HEADER, end);
      end += ZLIB_HEADER.length;
    }
    end = this.#deflater.deflate(this.#data, this.#end, out, end);
    const length = end - at - LENGTH_BYTES;
    for (let i = 0; i < LENGTH_BYTES; i++) out[at + i] = length >>> (24 - 8 * i);
    return end;
  }

  #readTile(source: Uint32Array, start: number, stride: number, width: number, height: number): void {
    const colours = this.#colours;
    const lengths = this.#lengths;
    let runs = 0;
    let previous = (source[start] as number) & COLOUR;
    let length = 0;
    colours[0] = previous;
    for (let y = 0; y < height; y++) {
      const from = start + y * stride;
      let runAt = from - length;
      for (let i = from, end = from + width; i < end; i++) {
        const colour = (source[i] as number) & COLOUR;
        if (colour === previous) continue;
        lengths[runs++] = i - runAt;
        runAt = i;
        colours[runs] = previous = colour;
      }
      length = from + width - runAt;
    }
    lengths[runs++] = length;
    this.#runs = runs;
    this.#makePalette();
  }

  #makePalette(): void {
    const slots = this.#slots.fill(0);
    const colours = this.#colours;
    const runs = this.#runs;
    let size = 0;
    for (let run = 0; run < runs; run++) {
      const colour = colours[run] as number;
      let slot = Math.imul(colour, HASH_FACTOR) >>> HASH_SHIFT;
      while (slots[slot] !== 0 && slots[slot] !== colour + 1) slot = (slot + 1) & (HASH_SLOTS - 1);
      if (slots[slot] !== 0) continue;
      if (size === PALETTE_MAX) {
        size++;
        break;
      }
      slots[slot] = colour + 1;
      this.#places[slot] = size;
      this.#palette[size++] = colour;
    }
    this.#paletteSize = size;
  }

  #placeOf(colour: number): number {
    const slots = this.#slots;
    let slot = Math.imul(colour, HASH_FACTOR) >>> HASH_SHIFT;
    while (slots[slot] !== colour + 1) slot = (slot + 1) & (HASH_SLOTS - 1);
    return this.#places[slot] as number;
  }

  #writeTile(width: number, height: number, tables: PixelTables): void {
    const size = this.#paletteSize;
    const runs = this.#runs;
    const pixelBytes = tables.compactBytes;
    const data = this.#data;
    if (size === 1) {
      data[this.#end++] = Subencoding.solid;
      this.#writePixel(this.#colours[0] as number, tables);
      return;
    }
    const rawBytes = width * height * pixelBytes;
    const runBytes = runs * (pixelBytes + 1);
    const hasPalette = size <= PALETTE_MAX;
    // Runs of a pixel take one byte, others two or more: between the two is close enough for the choice.
    const paletteRunBytes = hasPalette ? size * pixelBytes + runs * 2 : Number.POSITIVE_INFINITY;
    const bits = size <= 2 ? 1 : size <= 4 ? 2 : 4;
    const packedBytes =
      size <= PACKED_PALETTE_MAX
        ? size * pixelBytes + Math.ceil((width * bits) / 8) * height
        : Number.POSITIVE_INFINITY;
    const least = Math.min(rawBytes, runBytes, paletteRunBytes, packedBytes);
    if (least === packedBytes) {
      data[this.#end++] = size;
      this.#writePalette(tables);
      this.#writePacked(width, bits);
    } else if (least === paletteRunBytes) {
      data[this.#end++] = Subencoding.plainRle + size;
      this.#writePalette(tables);
      this.#writeRuns(tables, true);
    } else if (least === runBytes) {
      data[this.#end++] = Subencoding.plainRle;
      this.#writeRuns(tables, false);
    } else {
      data[this.#end++] = Subencoding.raw;
      for (let run = 0; run < runs; run++) {
        const colour = this.#colours[run] as number;
        for (let i = this.#lengths[run] as number; i > 0; i--) this.#writePixel(colour, tables);
      }
    }
  }

  #writePixel(colour: number, tables: PixelTables): void {
    const { red, green, blue, compactBytes, compactShift } = tables;
    const value =
      ((red[colour >>> 16] as number) |
        (green[(colour >>> 8) & 0xff] as number) |
        (blue[colour & 0xff] as number)) >>>
      compactShift;
    const data = this.#data;
    const at = this.#end;
    data[at] = value;
    if (compactBytes > 1) data[at + 1] = value >>> 8;
    if (compactBytes > 2) data[at + 2] = value >>> 16;
    if (compactBytes > 3) data[at + 3] = value >>> 24;
    this.#end = at + compactBytes;
  }

  #writePalette(tables: PixelTables): void {
    for (let i = 0; i < this.#paletteSize; i++) this.#writePixel(this.#palette[i] as number, tables);
  }

  /** Palette places of `bits` bits, the leftmost pixel highest; a row ends on a byte. */
  #writePacked(width: number, bits: number): void {
    const data = this.#data;
    const colours = this.#colours;
    const lengths = this.#lengths;
    const runs = this.#runs;
    let at = this.#end;
    let x = width;
    // A one bit above the pixels tells when a byte is full.
    let byte = 1;
    const fullMark = 1 << 8;
    for (let run = 0; run < runs; run++) {
      const place = this.#placeOf(colours[run] as number);
      for (let i = lengths[run] as number; i > 0; i--) {
        byte = (byte << bits) | place;
        if (--x === 0) {
          x = width;
          while (byte < fullMark) byte <<= bits;
        }
        if (byte >= fullMark) {
          data[at++] = byte;
          byte = 1;
        }
      }
    }
    this.#end = at;
  }

  #writeRuns(tables: PixelTables, palette: boolean): void {
    const data = this.#data;
    const runs = this.#runs;
    for (let run = 0; run < runs; run++) {
      const colour = this.#colours[run] as number;
      const length = this.#lengths[run] as number;
      if (palette) {
        const place = this.#placeOf(colour);
        data[this.#end++] = length === 1 ? place : place | 0x80;
        if (length === 1) continue;
      } else {
        this.#writePixel(colour, tables);
      }
      let over = length - 1;
      for (; over >= 255; over -= 255) data[this.#end++] = 255;
      data[this.#end++] = over;
    }
  }
}
