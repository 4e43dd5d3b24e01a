/** The Raw encoding (RFC 6143, 7.7.1): every viewer knows it. */
import type { PixelTables } from "./pixel-format.ts";

/**
 * Writes the rectangle of `width` x `height` pixels whose first is `source[start]` to `out` at `at`, and returns where
 * it ends. `out` has room for 4 bytes a pixel.
 */
export function encodeRaw(
  source: Uint32Array,
  start: number,
  stride: number,
  width: number,
  height: number,
  tables: PixelTables,
  out: Uint8Array,
  at: number,
): number {
  const { red, green, blue, bytesPerPixel } = tables;
  for (let y = 0; y < height; y++) {
    const from = start + y * stride;
    for (let i = from, end = from + width; i < end; i++) {
      const colour = source[i] as number;
      const value =
        (red[(colour >>> 16) & 0xff] as number) |
        (green[(colour >>> 8) & 0xff] as number) |
        (blue[colour & 0xff] as number);
      out[at] = value;
      if (bytesPerPixel > 1) out[at + 1] = value >>> 8;
      if (bytesPerPixel > 2) {
        out[at + 2] = value >>> 16;
        out[at + 3] = value >>> 24;
      }
      at += bytesPerPixel;
    }
  }
  return at;
}
