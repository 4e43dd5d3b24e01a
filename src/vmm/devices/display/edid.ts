/** The monitor's description (VESA E-EDID 1.4): one monitor with one preferred picture size. */
import { array, bytes, packed, u8, u16 } from "../../../base/layout.ts";

const EDID = "VESA E-EDID 1.4";
export const PREFERRED_WIDTH = 1280;
export const PREFERRED_HEIGHT = 800;

const DetailedTiming = packed("detailed timing descriptor", `${EDID}, 3.10.2`, {
  /** In units of 10 kHz. */
  pixelClock: u16,
  hActive: u8,
  hBlank: u8,
  /** High nibbles of both. */
  hHigh: u8,
  vActive: u8,
  vBlank: u8,
  vHigh: u8,
  hFrontPorch: u8,
  hSyncWidth: u8,
  /** Low nibbles of front porch and width. */
  vSync: u8,
  syncHigh: u8,
  hSizeMm: u8,
  vSizeMm: u8,
  sizeHigh: u8,
  borders: bytes(2),
  features: u8,
});

const DisplayDescriptor = packed("display descriptor", `${EDID}, 3.10.3`, {
  zero: bytes(3),
  tag: u8,
  zero2: u8,
  data: bytes(13),
});

const Edid = packed("EDID", `${EDID}, 3.1`, {
  header: bytes(8),
  manufacturer: bytes(2),
  product: u16,
  serial: bytes(4),
  week: u8,
  year: u8,
  version: u8,
  revision: u8,
  videoInput: u8,
  widthCm: u8,
  heightCm: u8,
  gamma: u8,
  features: u8,
  chromaticity: bytes(10),
  establishedTimings: bytes(3),
  standardTimings: array(u16, 8),
  preferred: DetailedTiming,
  name: DisplayDescriptor,
  limits: DisplayDescriptor,
  spare: DisplayDescriptor,
  extensions: u8,
  checksum: u8,
});

const Tag = { name: 0xfc, limits: 0xfd, dummy: 0x10 } as const;
const UNUSED_TIMING = 0x0101;

/** VESA CVT 1.2 with reduced blanking, 60 Hz. */
const PREFERRED = {
  clock10kHz: 7100,
  hBlank: 160,
  hFrontPorch: 48,
  hSyncWidth: 32,
  vBlank: 23,
  vFrontPorch: 3,
  vSyncWidth: 6,
} as const;
/** 96 pixels an inch. */
const WIDTH_MM = 339;
const HEIGHT_MM = 212;

/** The 128 bytes. */
export function buildEdid(): Uint8Array<ArrayBuffer> {
  const { clock10kHz, hBlank, hFrontPorch, hSyncWidth, vBlank, vFrontPorch, vSyncWidth } = PREFERRED;
  const nibbles = (high: number, low: number) => ((high >> 8) << 4) | (low >> 8);
  const edid = Edid.encode({
    header: Uint8Array.of(0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0),
    manufacturer: pnpId("TMB"),
    product: 1,
    year: 2026 - 1990,
    version: 1,
    revision: 4,
    videoInput: 0xa5, // digital, 8 bits a colour, DisplayPort
    widthCm: Math.round(WIDTH_MM / 10),
    heightCm: Math.round(HEIGHT_MM / 10),
    gamma: 120, // 2.2
    features: 0x06, // sRGB; the first timing is the native one
    chromaticity: Uint8Array.of(0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54), // sRGB
    establishedTimings: Uint8Array.of(0x21, 0x08, 0), // 640x480, 800x600 and 1024x768 at 60 Hz
    standardTimings: new Array<number>(8).fill(UNUSED_TIMING),
    preferred: {
      ...DetailedTiming.zero,
      pixelClock: clock10kHz,
      hActive: PREFERRED_WIDTH & 0xff,
      hBlank,
      hHigh: nibbles(PREFERRED_WIDTH, hBlank),
      vActive: PREFERRED_HEIGHT & 0xff,
      vBlank,
      vHigh: nibbles(PREFERRED_HEIGHT, vBlank),
      hFrontPorch,
      hSyncWidth,
      vSync: (vFrontPorch << 4) | vSyncWidth,
      hSizeMm: WIDTH_MM & 0xff,
      vSizeMm: HEIGHT_MM & 0xff,
      sizeHigh: nibbles(WIDTH_MM, HEIGHT_MM),
      features: 0x1a, // digital separate sync, horizontal positive
    },
    name: descriptor(Tag.name, [...text("Thimble\n"), 0x20, 0x20, 0x20, 0x20, 0x20]),
    // Vertical 50 to 75 Hz, horizontal 30 to 90 kHz, at most 300 MHz; no formula.
    limits: descriptor(Tag.limits, [50, 75, 30, 90, 30, 0x01, 0x0a, ...text("      ")]),
    spare: descriptor(Tag.dummy, []),
  });
  edid[Edid.offset.checksum] = -edid.reduce((sum, byte) => sum + byte, 0);
  return edid;
}

function descriptor(tag: number, data: readonly number[]) {
  return { zero: new Uint8Array(3), tag, zero2: 0, data: Uint8Array.from(data) };
}

function text(ascii: string): number[] {
  return [...ascii].map((c) => c.charCodeAt(0));
}

/** Three letters of five bits each, the first bit zero. */
function pnpId(letters: string): Uint8Array {
  const id = text(letters).reduce((value, c) => (value << 5) | (c - 0x40), 0);
  return Uint8Array.of(id >> 8, id & 0xff);
}
