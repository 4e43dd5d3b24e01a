/**
 * One viewer: its side of the protocol, without sockets, so that tests drive it.
 *
 * Nothing is sent before it is asked for (RFC 6143, 7.5.3), and a request while another waits joins it. An update is
 * a list of rectangles made at once; each is encoded only when the socket has taken the one before. So a viewer that
 * reads slowly costs one encoded rectangle, and what changes meanwhile is sent once, as it looks then.
 */
import { utf8Encode } from "../../sys/text.ts";
import type { InputSink } from "../input.ts";
import {
  COLOUR_MAP_ENTRY_BYTES,
  ColourMapHeader,
  Encoding,
  PixelFormat,
  PointerButton,
  PROTOCOL_VERSION,
  Rectangle,
  ResizeReason,
  ResizeStatus,
  ScreenList,
  SECURITY_NONE,
  ServerInit,
  ServerMessage,
  TILE,
  UpdateHeader,
} from "./bits.ts";
import { keycodeOfKeysym, keycodeOfScancode } from "./keysyms.ts";
import { type ClientEvents, ClientParser } from "./parser.ts";
import { colourMap, NATIVE_FORMAT, type PixelTables, pixelTables } from "./pixel-format.ts";
import { encodeRaw } from "./raw.ts";
import { CELL_HEIGHT, CELL_WIDTH, type Surface } from "./surface.ts";
import { type ZrleEncoder, zrleBytesMax } from "./zrle.ts";

/** A rectangle's largest size: bounds what one costs in time and memory. */
const RECTANGLE_WIDTH_MAX = 1024;
const RECTANGLE_HEIGHT_MAX = TILE;
export const RECTANGLE_PIXELS_MAX = RECTANGLE_WIDTH_MAX * RECTANGLE_HEIGHT_MAX;
/** Room for one encoded rectangle with its header. */
export const SCRATCH_BYTES = Rectangle.size + zrleBytesMax(RECTANGLE_PIXELS_MAX);
/** Positions of InputSink. */
const POINTER_MAX = 32767;
const RESULT_OK = 4;
const KEYS = 256;
/** A source without pixels: all are black. */
const NOTHING = new Uint32Array(0);

/** What all viewers share: none keeps anything in it between calls. */
export interface SharedEncoder {
  readonly zrle: ZrleEncoder;
  readonly scratch: Uint8Array<ArrayBuffer>;
}

export interface ClientPorts {
  readonly name: string;
  readonly sink: InputSink;
  /** Takes bytes: how many the socket took, the rest is sent again when `writable` is called. */
  readonly send: (bytes: Uint8Array) => number;
  /** The viewer does not keep to the protocol: it is to be dropped. */
  readonly violation: (why: string) => void;
  readonly surface: () => Surface;
}

export class VncClient {
  /** A request waits for something to show. */
  requested = false;
  readonly #ports: ClientPorts;
  readonly #parser: ClientParser;
  #minor = 8;
  /** The picture's size as the viewer knows it. */
  #width = 0;
  #height = 0;
  #generation = 0;
  #tables = pixelTables(NATIVE_FORMAT) as PixelTables;
  #encoding: number = Encoding.raw;
  #encodingChosen = false;
  #knowsResize = false;
  #knowsExtendedResize = false;
  /** The viewer's ZRLE stream has begun. */
  #streamBegun = false;
  #tellColours = false;
  #tellSize = false;
  #tellKeys = false;
  /** An answer to the viewer's wish for another size is due. */
  #refuseSize = false;
  /** By cell: the version last sent. */
  #sent = new Uint32Array(0);
  /** The requested area in cells: [left, right) and [top, bottom). */
  readonly #area = { left: 0, top: 0, right: 0, bottom: 0 };
  /** Rectangles of the update being sent: x, y, width, height of each. */
  #rectangles = new Uint16Array(0);
  #rectangleCount = 0;
  #nextRectangle = 0;
  #rectanglesOf = 0;
  /** What the socket did not take. */
  #unsent: Uint8Array<ArrayBuffer> | null = null;
  readonly #keysDown = new Uint8Array(KEYS);
  #buttons = 0;
  #lastX = 0;
  #lastY = 0;

  constructor(ports: ClientPorts) {
    this.#ports = ports;
    this.#parser = new ClientParser(this.#events());
    this.#send(utf8Encode(PROTOCOL_VERSION));
  }

  /** Whether the socket has to take something before more is sent. */
  get blocked(): boolean {
    return this.#unsent !== null;
  }

  /** An update is partly sent. */
  get sending(): boolean {
    return this.#nextRectangle < this.#rectangleCount;
  }

  receive(bytes: Uint8Array): void {
    this.#parser.feed(bytes);
  }

  /** The socket has room again. */
  writable(): void {
    const rest = this.#unsent;
    this.#unsent = null;
    if (rest !== null) this.#send(rest);
  }

  /** Sends the next piece, if there is something to send. Returns how many pixels it encoded; 0: nothing is to be done. */
  step(surface: Surface, shared: SharedEncoder): number {
    if (this.#unsent !== null) return 0;
    if (this.sending) return this.#sendRectangle(surface, shared);
    if (!this.requested || surface.pending) return 0;
    if (this.#tellColours) this.#sendColours();
    if (this.#generation !== surface.generation && this.#follow(surface)) return 1;
    this.#listRectangles(surface);
    const extra = (this.#tellKeys ? 1 : 0) + (this.#tellSize ? 1 : 0) + (this.#refuseSize ? 1 : 0);
    if (this.#rectangleCount + extra === 0) return 0;
    this.requested = false;
    this.#sendHeader(this.#rectangleCount + extra);
    if (this.#tellKeys) this.#sendEmpty(Encoding.qemuExtendedKey, 0, 0);
    if (this.#tellSize) this.#sendSize(ResizeReason.server, ResizeStatus.done);
    if (this.#refuseSize) this.#sendSize(ResizeReason.thisClient, ResizeStatus.prohibited);
    this.#tellKeys = this.#tellSize = this.#refuseSize = false;
    return 1;
  }

  /** The viewer is gone: what it held down is let go. */
  release(): void {
    this.#keysDown.forEach((down, keycode) => {
      if (down === 1) this.#ports.sink.key(keycode, false);
    });
    if (this.#buttons !== 0) this.#pointer(this.#lastX, this.#lastY, 0);
  }

  #events(): ClientEvents {
    return {
      version: (minor) => {
        this.#minor = minor;
        // A list of one security type; in version 3.3 the type itself, in 32 bits.
        this.#send(minor === 3 ? Uint8Array.of(0, 0, 0, SECURITY_NONE) : Uint8Array.of(1, SECURITY_NONE));
      },
      secured: () => {
        if (this.#minor === 8) this.#send(new Uint8Array(RESULT_OK));
      },
      ready: () => this.#sendInit(),
      pixelFormat: (format) => {
        const tables = pixelTables(format);
        if (tables === null) {
          this.#ports.violation("it asked for an impossible pixel format");
          return;
        }
        this.#tables = tables;
        this.#tellColours = tables.mapped;
      },
      encodingsBegin: () => {
        this.#encoding = Encoding.raw;
        this.#encodingChosen = false;
        this.#knowsResize = this.#knowsExtendedResize = false;
        this.#tellSize = this.#tellKeys = this.#refuseSize = false;
      },
      encoding: (encoding) => this.#addEncoding(encoding),
      updateRequest: (incremental, x, y, width, height) => this.#request(incremental, x, y, width, height),
      keysym: (keysym, down) => this.#key(keycodeOfKeysym(keysym), down),
      scancode: (scancode, keysym, down) =>
        this.#key(keycodeOfScancode(scancode) || keycodeOfKeysym(keysym), down),
      pointer: (x, y, buttons) => this.#pointer(x, y, buttons),
      desktopSize: () => {
        this.#refuseSize = this.#knowsExtendedResize;
      },
      violation: (why) => this.#ports.violation(why),
    };
  }

  #sendInit(): void {
    const surface = this.#ports.surface();
    const name = utf8Encode(this.#ports.name);
    this.#takeSize(surface);
    const { width, height } = surface;
    const init = ServerInit.encode({
      width,
      height,
      format: { ...PixelFormat.zero, ...NATIVE_FORMAT },
      nameLength: name.length,
    });
    this.#send(init);
    this.#send(name);
  }

  /** The first known encoding of the list is the viewer's favourite. */
  #addEncoding(encoding: number): void {
    switch (encoding) {
      case Encoding.raw:
      case Encoding.zrle:
        if (!this.#encodingChosen) this.#encoding = encoding;
        this.#encodingChosen = true;
        break;
      case Encoding.desktopSize:
        this.#knowsResize = true;
        break;
      case Encoding.extendedDesktopSize:
        this.#knowsExtendedResize = this.#tellSize = true;
        break;
      case Encoding.qemuExtendedKey:
        this.#tellKeys = true;
        break;
    }
  }

  #takeSize({ width, height, generation, versions, columns, rows }: Surface): void {
    this.#width = width;
    this.#height = height;
    this.#generation = generation;
    this.#sent = new Uint32Array(versions.length);
    this.#rectangles = new Uint16Array(4 * versions.length);
    Object.assign(this.#area, { left: 0, top: 0, right: columns, bottom: rows });
  }

  #request(incremental: boolean, x: number, y: number, width: number, height: number): void {
    const surface = this.#ports.surface();
    const area = this.#area;
    const left = Math.floor(x / CELL_WIDTH);
    const top = Math.floor(y / CELL_HEIGHT);
    const right = Math.min(surface.columns, Math.ceil((x + width) / CELL_WIDTH));
    const bottom = Math.min(surface.rows, Math.ceil((y + height) / CELL_HEIGHT));
    if (!this.requested) Object.assign(area, { left, top, right, bottom });
    else {
      area.left = Math.min(area.left, left);
      area.top = Math.min(area.top, top);
      area.right = Math.max(area.right, right);
      area.bottom = Math.max(area.bottom, bottom);
    }
    this.requested = true;
    if (incremental || this.#generation !== surface.generation) return;
    for (let row = top; row < bottom; row++) {
      this.#sent.fill(0, row * surface.columns + left, Math.max(left, right) + row * surface.columns);
    }
  }

  /** The picture has another form. Says whether that was worth an update of its own. */
  #follow(surface: Surface): boolean {
    const oldWidth = this.#width;
    const oldHeight = this.#height;
    this.#takeSize(surface);
    if (this.#width === oldWidth && this.#height === oldHeight) return false;
    if (!this.#knowsExtendedResize && !this.#knowsResize) {
      // It goes on seeing what fits.
      this.#width = oldWidth;
      this.#height = oldHeight;
      return false;
    }
    // No pixels beside it: the viewer would throw them away (RFC 6143, 7.8.2).
    this.requested = this.#tellSize = false;
    this.#sendHeader(1);
    if (this.#knowsExtendedResize) this.#sendSize(ResizeReason.server, ResizeStatus.done);
    else this.#sendEmpty(Encoding.desktopSize, 0, 0);
    return true;
  }

  #sendHeader(rectangles: number): void {
    this.#send(UpdateHeader.encode({ type: ServerMessage.framebufferUpdate, rectangles }));
  }

  #sendEmpty(encoding: number, x: number, y: number): void {
    this.#send(Rectangle.encode({ x, y, width: this.#width, height: this.#height, encoding }));
  }

  #sendSize(reason: number, status: number): void {
    this.#sendEmpty(Encoding.extendedDesktopSize, reason, status);
    this.#send(ScreenList.encode({ screens: 1, width: this.#width, height: this.#height }));
  }

  #sendColours(): void {
    this.#tellColours = false;
    const colours = colourMap();
    const message = new Uint8Array(ColourMapHeader.size + 256 * COLOUR_MAP_ENTRY_BYTES);
    ColourMapHeader.patch(message, 0, { type: ServerMessage.setColourMapEntries, count: 256 });
    colours.forEach((value, i) => {
      message[ColourMapHeader.size + i * 2] = value >> 8;
      message[ColourMapHeader.size + i * 2 + 1] = value;
    });
    this.#send(message);
  }

  /** Joins cells that changed since they were sent to rectangles, as far as the viewer sees them. */
  #listRectangles(surface: Surface): void {
    const { versions, columns } = surface;
    const sent = this.#sent;
    const list = this.#rectangles;
    const right = Math.min(this.#area.right, Math.ceil(Math.min(this.#width, surface.width) / CELL_WIDTH));
    const bottom = Math.min(
      this.#area.bottom,
      Math.ceil(Math.min(this.#height, surface.height) / CELL_HEIGHT),
    );
    const most = RECTANGLE_WIDTH_MAX / CELL_WIDTH;
    let count = 0;
    /** Rectangles of the row above, which may grow downwards. */
    let above = 0;
    for (let row = this.#area.top; row < bottom; row++) {
      const rowStart = count;
      const base = row * columns;
      for (let column = this.#area.left; column < right; ) {
        if (versions[base + column] === sent[base + column]) {
          column++;
          continue;
        }
        const first = column;
        while (column < right && column - first < most && versions[base + column] !== sent[base + column])
          column++;
        const x = first * CELL_WIDTH;
        const width = (column - first) * CELL_WIDTH;
        let grown = false;
        for (let i = above; i < rowStart && !grown; i++) {
          const at = i * 4;
          grown =
            list[at] === x &&
            list[at + 2] === width &&
            (list[at + 1] as number) + (list[at + 3] as number) === row * CELL_HEIGHT &&
            (list[at + 3] as number) < RECTANGLE_HEIGHT_MAX;
          if (grown) (list[at + 3] as number) += CELL_HEIGHT;
        }
        if (!grown) {
          list[count * 4] = x;
          list[count * 4 + 1] = row * CELL_HEIGHT;
          list[count * 4 + 2] = width;
          list[count * 4 + 3] = CELL_HEIGHT;
          count++;
        }
      }
      if (count > rowStart) above = rowStart;
    }
    this.#rectangleCount = count;
    this.#nextRectangle = 0;
    this.#rectanglesOf = surface.generation;
  }

  #sendRectangle(surface: Surface, { zrle, scratch }: SharedEncoder): number {
    const list = this.#rectangles;
    const at = this.#nextRectangle++ * 4;
    const x = list[at] as number;
    const y = list[at + 1] as number;
    // When the picture has changed its form since, what was announced is sent black; the new picture follows.
    const valid = this.#rectanglesOf === surface.generation;
    const width = Math.min(list[at + 2] as number, this.#width - x, valid ? surface.width - x : this.#width);
    const height = Math.min(
      list[at + 3] as number,
      this.#height - y,
      valid ? surface.height - y : this.#height,
    );
    const encoding = this.#encoding;
    Rectangle.patch(scratch, 0, { x, y, width, height, encoding });
    const source = valid ? surface.pixels : NOTHING;
    const start = y * surface.stride + x;
    let end: number;
    if (encoding === Encoding.zrle) {
      const begin = !this.#streamBegun;
      this.#streamBegun = true;
      end = zrle.encode(
        source,
        start,
        surface.stride,
        width,
        height,
        this.#tables,
        begin,
        scratch,
        Rectangle.size,
      );
    } else {
      end = encodeRaw(source, start, surface.stride, width, height, this.#tables, scratch, Rectangle.size);
    }
    if (valid) this.#markSent(surface, x, y, list[at + 2] as number, list[at + 3] as number);
    this.#send(scratch.subarray(0, end));
    return width * height;
  }

  #markSent(surface: Surface, x: number, y: number, width: number, height: number): void {
    const { columns, versions } = surface;
    const left = x / CELL_WIDTH;
    for (let row = y / CELL_HEIGHT; row < (y + height) / CELL_HEIGHT; row++) {
      for (let column = left; column < left + width / CELL_WIDTH; column++) {
        const cell = row * columns + column;
        this.#sent[cell] = versions[cell] as number;
      }
    }
  }

  #key(keycode: number, down: boolean): void {
    if (keycode === 0) return;
    this.#keysDown[keycode] = down ? 1 : 0;
    this.#ports.sink.key(keycode, down);
  }

  #pointer(x: number, y: number, mask: number): void {
    const pressed = mask & ~this.#buttons;
    this.#buttons = mask;
    this.#lastX = x;
    this.#lastY = y;
    const buttons = mask & (PointerButton.left | PointerButton.middle | PointerButton.right);
    const wheel = (pressed & PointerButton.wheelUp ? 1 : 0) - (pressed & PointerButton.wheelDown ? 1 : 0);
    const scaled = (value: number, size: number) =>
      Math.min(POINTER_MAX, Math.round((value * POINTER_MAX) / Math.max(1, size - 1)));
    this.#ports.sink.pointer(scaled(x, this.#width), scaled(y, this.#height), buttons, wheel);
  }

  /** Sends, or keeps what the socket does not take behind what it has not taken before. */
  #send(bytes: Uint8Array): void {
    const waiting = this.#unsent;
    if (waiting !== null) {
      const joined = new Uint8Array(waiting.length + bytes.length);
      joined.set(waiting);
      joined.set(bytes, waiting.length);
      this.#unsent = joined;
      return;
    }
    const taken = this.#ports.send(bytes);
    if (taken < bytes.length) this.#unsent = bytes.slice(taken) as Uint8Array<ArrayBuffer>;
  }
}
