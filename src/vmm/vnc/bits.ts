/** Messages and numbers of the RFB protocol (RFC 6143; IANA's registry and the community specification for extensions). */
import { be16, be32, bytes, packed, u8 } from "../../base/layout.ts";

const RFC = "RFC 6143";

export const PROTOCOL_VERSION = "RFB 003.008\n";
export const SECURITY_NONE = 1;

export const PixelFormat = packed("PIXEL_FORMAT", `${RFC}, 7.4`, {
  bitsPerPixel: u8,
  depth: u8,
  bigEndian: u8,
  trueColour: u8,
  redMax: be16,
  greenMax: be16,
  blueMax: be16,
  redShift: u8,
  greenShift: u8,
  blueShift: u8,
  padding: bytes(3),
});

export const ServerInit = packed("ServerInit", `${RFC}, 7.3.2`, {
  width: be16,
  height: be16,
  format: PixelFormat,
  nameLength: be32,
});

export const ClientMessage = {
  setPixelFormat: 0,
  setEncodings: 2,
  framebufferUpdateRequest: 3,
  keyEvent: 4,
  pointerEvent: 5,
  clientCutText: 6,
  setDesktopSize: 251,
  qemu: 255,
} as const;

export const SetPixelFormat = packed("SetPixelFormat", `${RFC}, 7.5.1`, {
  type: u8,
  padding: bytes(3),
  format: PixelFormat,
});
/** `count` encodings of 32 bits follow. */
export const SetEncodings = packed("SetEncodings", `${RFC}, 7.5.2`, { type: u8, padding: u8, count: be16 });
export const UpdateRequest = packed("FramebufferUpdateRequest", `${RFC}, 7.5.3`, {
  type: u8,
  incremental: u8,
  x: be16,
  y: be16,
  width: be16,
  height: be16,
});
export const KeyEvent = packed("KeyEvent", `${RFC}, 7.5.4`, { type: u8, down: u8, padding: be16, key: be32 });
export const PointerEvent = packed("PointerEvent", `${RFC}, 7.5.5`, {
  type: u8,
  buttons: u8,
  x: be16,
  y: be16,
});
/** `length` bytes follow. */
export const ClientCutText = packed("ClientCutText", `${RFC}, 7.5.6`, {
  type: u8,
  padding: bytes(3),
  length: be32,
});
/** `screens` structures of SCREEN_BYTES follow. */
export const SetDesktopSize = packed("SetDesktopSize", "rfbproto, 7.4.10", {
  type: u8,
  padding: u8,
  width: be16,
  height: be16,
  screens: u8,
  padding2: u8,
});
/** QEMU's client messages; the only one known here has the subtype 0. */
export const QemuKeyEvent = packed("QEMU extended key event", "rfbproto, 7.4.11", {
  type: u8,
  subtype: u8,
  down: be16,
  key: be32,
  /** Set 1 ("XT"), an 0xe0 before it as bit 7. */
  scancode: be32,
});

export const ServerMessage = { framebufferUpdate: 0, setColourMapEntries: 1 } as const;

export const UpdateHeader = packed("FramebufferUpdate", `${RFC}, 7.6.1`, {
  type: u8,
  padding: u8,
  rectangles: be16,
});
export const Rectangle = packed("rectangle", `${RFC}, 7.6.1`, {
  x: be16,
  y: be16,
  width: be16,
  height: be16,
  encoding: be32,
});
export const ColourMapHeader = packed("SetColourMapEntries", `${RFC}, 7.6.2`, {
  type: u8,
  padding: u8,
  first: be16,
  count: be16,
});
export const COLOUR_MAP_ENTRY_BYTES = 6;

/** Encodings and pseudo-encodings, as unsigned numbers. */
export const Encoding = {
  raw: 0,
  zrle: 16,
  desktopSize: 0x1_0000_0000 - 223,
  extendedDesktopSize: 0x1_0000_0000 - 308,
  qemuExtendedKey: 0x1_0000_0000 - 258,
} as const;

/** What follows an ExtendedDesktopSize rectangle. */
export const ScreenList = packed("ExtendedDesktopSize, one screen", "rfbproto, 7.8.2", {
  screens: u8,
  padding: bytes(3),
  id: be32,
  x: be16,
  y: be16,
  width: be16,
  height: be16,
  flags: be32,
});
export const SCREEN_BYTES = 16;
/** In the x of an ExtendedDesktopSize rectangle: who wanted it. */
export const ResizeReason = { server: 0, thisClient: 1 } as const;
/** In its y: what came of it. */
export const ResizeStatus = { done: 0, prohibited: 1 } as const;

/** ZRLE (RFC 6143, 7.7.6). */
export const TILE = 64;
export const Subencoding = { raw: 0, solid: 1, plainRle: 128 } as const;
export const PACKED_PALETTE_MAX = 16;
export const PALETTE_MAX = 127;

/** Mask of PointerEvent. The wheel is buttons, pressed and released once a step. */
export const PointerButton = { left: 1, middle: 2, right: 4, wheelUp: 8, wheelDown: 16 } as const;
