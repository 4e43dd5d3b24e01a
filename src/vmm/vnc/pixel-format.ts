/**
 * Turning the guest's pixels into what a client asked for: a table each for red, green and blue, whose entries hold
 * the intensity already shifted to its place and in the client's byte order. So one pixel costs three lookups,
 * whatever the format, and a client with the guest's own format costs none.
 */
import type { PixelFormat } from "./bits.ts";

export type PixelFormatFields = {
  readonly [K in Exclude<keyof typeof PixelFormat.offset, "padding">]: number;
};

/** The guest's: 32 bits, blue lowest. */
export const NATIVE_FORMAT = {
  bitsPerPixel: 32,
  depth: 24,
  bigEndian: 0,
  trueColour: 1,
  redMax: 255,
  greenMax: 255,
  blueMax: 255,
  redShift: 16,
  greenShift: 8,
  blueShift: 0,
} as const satisfies Partial<PixelFormatFields>;

/** What a client that wants a colour map gets: three bits of red, three of green, two of blue. */
const MAPPED_FORMAT = {
  redMax: 7,
  greenMax: 7,
  blueMax: 3,
  redShift: 0,
  greenShift: 3,
  blueShift: 6,
} as const satisfies Partial<PixelFormatFields>;

export interface PixelTables {
  readonly bytesPerPixel: 1 | 2 | 4;
  /** Nothing to convert. */
  readonly native: boolean;
  readonly mapped: boolean;
  readonly red: Uint32Array;
  readonly green: Uint32Array;
  readonly blue: Uint32Array;
  /** Of a ZRLE pixel (RFC 6143, 7.7.5): how many bytes, and how many bits of the table's value are left out below. */
  readonly compactBytes: 1 | 2 | 3 | 4;
  readonly compactShift: 0 | 8;
}

/** Null when the format is not a possible one. */
export function pixelTables(given: PixelFormatFields): PixelTables | null {
  const { bitsPerPixel, depth, bigEndian } = given;
  if (bitsPerPixel !== 8 && bitsPerPixel !== 16 && bitsPerPixel !== 32) return null;
  const mapped = given.trueColour === 0;
  if (mapped && bitsPerPixel !== 8) return null;
  const format = mapped ? { ...given, ...MAPPED_FORMAT } : given;
  const table = (max: number, shift: number): Uint32Array | null => {
    if (max * 2 ** shift >= 2 ** bitsPerPixel) return null;
    return Uint32Array.from({ length: 256 }, (_, intensity) => {
      const value = Math.round((intensity * max) / 255) * 2 ** shift;
      return bigEndian === 0 ? value : swapped(value, bitsPerPixel);
    });
  };
  const red = table(format.redMax, format.redShift);
  const green = table(format.greenMax, format.greenShift);
  const blue = table(format.blueMax, format.blueShift);
  if (red === null || green === null || blue === null) return null;
  const used = ((red[255] as number) | (green[255] as number) | (blue[255] as number)) >>> 0;
  const compact = bitsPerPixel === 32 && depth <= 24 && (used < 0x100_0000 || (used & 0xff) === 0);
  const fields = Object.entries(NATIVE_FORMAT) as [keyof typeof NATIVE_FORMAT, number][];
  return {
    bytesPerPixel: (bitsPerPixel / 8) as 1 | 2 | 4,
    native: fields.every(
      ([name, value]) => name === "depth" || name === "trueColour" || format[name] === value,
    ),
    mapped,
    red,
    green,
    blue,
    compactBytes: compact ? 3 : ((bitsPerPixel / 8) as 1 | 2 | 4),
    compactShift: compact && used >= 0x100_0000 ? 8 : 0,
  };
}

/** The colours of the 256 entries of the map, three intensities of 16 bits each. */
export function colourMap(): Uint16Array {
  const { redMax, greenMax, blueMax, redShift, greenShift, blueShift } = MAPPED_FORMAT;
  const colours = new Uint16Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    colours[i * 3] = (((i >> redShift) & redMax) * 0xffff) / redMax;
    colours[i * 3 + 1] = (((i >> greenShift) & greenMax) * 0xffff) / greenMax;
    colours[i * 3 + 2] = (((i >> blueShift) & blueMax) * 0xffff) / blueMax;
  }
  return colours;
}

function swapped(value: number, bits: number): number {
  let out = 0;
  for (let shift = 0; shift < bits; shift += 8) out = out * 256 + ((value >>> shift) & 0xff);
  return out;
}
