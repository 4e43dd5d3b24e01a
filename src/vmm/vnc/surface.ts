/**
 * The host's copy of the picture, and what of it changed when. It exists while somebody looks.
 *
 * A refresh takes the pages that the guest wrote, turns them into rows, copies each band of rows aside and compares the
 * copy with what was there. What differs is counted by cells of 64 x 16 pixels: a cell's version grows with each
 * change, and every viewer remembers which version it has sent. The copy is taken before it is compared and nothing is
 * read twice from the guest, so no change is lost, however the guest draws meanwhile; and encoders read a picture that
 * stands still.
 */
import { PAGE_BITMAP_BYTES, PAGE_BYTES, type Screen, type ScreenMode } from "../devices/display/screen.ts";

export const CELL_WIDTH = 64;
export const CELL_HEIGHT = 16;
const PAGE_PIXELS = PAGE_BYTES / 4;
/** Shown while the guest shows nothing. */
const BLANK: ScreenMode = { width: 640, height: 480, offset: 0, stride: 640, bigEndian: false };

export class Surface {
  width = 0;
  height = 0;
  /** In pixels, even: rows are compared two pixels at a time. */
  stride = 0;
  pixels = new Uint32Array(0);
  columns = 0;
  rows = 0;
  /** By cell, row after row. 1 is the picture as it was first seen. */
  versions = new Uint32Array(0);
  /** Grows when the picture takes another form; all above is another object then. */
  generation = 0;
  /** Whether a refresh has rows left to compare. */
  pending = false;
  /** Whether the refresh found a change so far. */
  changed = false;

  readonly #screen: Screen;
  readonly #pages = new Uint8Array(PAGE_BITMAP_BYTES);
  #mode: ScreenMode | null = null;
  /** 1 for each row that may have changed. */
  #stale = new Uint8Array(0);
  #nextBand = 0;
  /** A band of rows as the guest has them now. */
  #band = new Uint32Array(0);
  /** `#band` and `pixels`, two pixels a number. */
  #bandPairs = new Float64Array(0);
  #pairs = new Float64Array(0);
  #changedCells = new Uint8Array(0);

  constructor(screen: Screen) {
    this.#screen = screen;
    screen.watch(true);
    this.#reform(screen.mode());
  }

  /** Nobody looks any more. */
  close(): void {
    this.#screen.watch(false);
  }

  /** Starts a refresh: what the guest wrote until now will be compared by `advance`. */
  refresh(): void {
    const mode = this.#screen.mode();
    this.changed = false;
    this.#nextBand = 0;
    this.#screen.takeDirty(this.#pages);
    if (mode !== this.#mode) this.#reform(mode);
    else if (mode !== null) this.#markRows(mode);
  }

  /** Goes on with the refresh for about so many pixels. */
  advance(pixels: number): void {
    const mode = this.#mode;
    let left = pixels;
    while (this.pending && left > 0) {
      if (mode !== null) left -= this.#compareBand(mode, this.#nextBand);
      this.pending = mode !== null && ++this.#nextBand < this.rows;
    }
  }

  #reform(mode: ScreenMode | null): void {
    const { width, height, stride } = mode ?? BLANK;
    this.#mode = mode;
    this.generation++;
    this.width = width;
    this.height = height;
    this.stride = stride + (stride & 1);
    this.pixels = new Uint32Array(this.stride * height);
    this.#pairs = new Float64Array(this.pixels.buffer);
    this.#band = new Uint32Array(this.stride * CELL_HEIGHT);
    this.#bandPairs = new Float64Array(this.#band.buffer);
    this.columns = Math.ceil(width / CELL_WIDTH);
    this.rows = Math.ceil(height / CELL_HEIGHT);
    this.versions = new Uint32Array(this.columns * this.rows).fill(1);
    this.#changedCells = new Uint8Array(this.columns);
    this.#stale = new Uint8Array(height).fill(1);
    this.#nextBand = 0;
    this.pending = true;
    this.changed = true;
  }

  #markRows({ offset, stride, height }: ScreenMode): void {
    const pages = this.#pages;
    for (let i = 0; i < PAGE_BITMAP_BYTES; i++) {
      const bits = pages[i] as number;
      if (bits === 0) continue;
      for (let bit = 0; bit < 8; bit++) {
        if ((bits & (1 << bit)) === 0) continue;
        const first = (i * 8 + bit) * PAGE_PIXELS - offset;
        const last = Math.floor((first + PAGE_PIXELS - 1) / stride);
        if (last < 0) continue;
        this.#stale.fill(1, Math.max(0, Math.floor(first / stride)), Math.min(height, last + 1));
        this.pending = true;
      }
    }
  }

  /** Returns how many pixels it looked at. */
  #compareBand(mode: ScreenMode, band: number): number {
    const stale = this.#stale;
    const start = band * CELL_HEIGHT;
    const end = Math.min(start + CELL_HEIGHT, this.height);
    let first = start;
    while (first < end && stale[first] === 0) first++;
    if (first === end) return 0;
    let last = end - 1;
    while (stale[last] === 0) last--;
    stale.fill(0, start, end);
    this.#copyRows(mode, first, last + 1);

    const { columns, width, stride } = this;
    const pairs = this.#pairs;
    const bandPairs = this.#bandPairs;
    const changedCells = this.#changedCells.fill(0);
    const rowPairs = stride / 2;
    const widthPairs = (width + 1) >> 1;
    let changed = 0;
    for (let row = first; row <= last; row++) {
      const at = row * rowPairs;
      const bandAt = (row - first) * rowPairs;
      for (let column = 0; column < columns; column++) {
        if (changedCells[column] === 1) continue;
        const from = column * (CELL_WIDTH / 2);
        const to = from + CELL_WIDTH / 2 < widthPairs ? from + CELL_WIDTH / 2 : widthPairs;
        for (let i = from; i < to; i++) {
          // Pairs that are not numbers (both pixels' unused bytes set) differ from themselves: sent once too often.
          if (pairs[at + i] !== bandPairs[bandAt + i]) {
            changedCells[column] = 1;
            changed++;
            break;
          }
        }
      }
    }
    if (changed > 0) {
      this.changed = true;
      this.pixels.set(this.#band.subarray(0, (last + 1 - first) * stride), first * stride);
      const versions = this.versions;
      for (let column = 0; column < columns; column++) {
        if (changedCells[column] === 1) (versions[band * columns + column] as number)++;
      }
    }
    return (last + 1 - first) * width;
  }

  /** Copies rows of the guest to the start of the band. */
  #copyRows({ offset, stride, bigEndian }: ScreenMode, first: number, end: number): void {
    const { pixels } = this.#screen;
    const band = this.#band;
    const own = this.stride;
    // The last row may end before its stride does, where the memory ends.
    const lastEnd = Math.min(pixels.length, offset + end * stride);
    if (own === stride) {
      band.set(pixels.subarray(offset + first * stride, lastEnd));
    } else {
      for (let row = first; row < end; row++) {
        const at = offset + row * stride;
        band.set(pixels.subarray(at, Math.min(at + stride, lastEnd)), (row - first) * own);
      }
    }
    if (!bigEndian) return;
    for (let i = (end - first) * own - 1; i >= 0; i--) {
      const pixel = band[i] as number;
      band[i] = (pixel >>> 24) | ((pixel >>> 8) & 0xff00) | ((pixel & 0xff00) << 8) | (pixel << 24);
    }
  }
}
