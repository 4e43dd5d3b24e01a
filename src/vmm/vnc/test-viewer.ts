/** A viewer for tests: it decodes what a VncClient sends, by the protocol's text and with zlib, into a picture. */
import assert from "node:assert/strict";
import { constants, inflateSync } from "node:zlib";
import { Encoding } from "./bits.ts";

/** Takes bytes off the front of what arrived. */
class Reader {
  at = 0;
  constructor(readonly bytes: Buffer) {}
  take(length: number): Buffer {
    if (this.at + length > this.bytes.length) throw new RangeError("more is to come");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  u8 = () => this.take(1).readUInt8();
  u16 = () => this.take(2).readUInt16BE();
  u32 = () => this.take(4).readUInt32BE();
}

export interface Format {
  readonly bits: 8 | 16 | 32;
  readonly big: boolean;
  /** Maximum and shift of red, green, blue. */
  readonly colours: readonly (readonly [max: number, shift: number])[];
  readonly depth: number;
}

export const NATIVE: Format = {
  bits: 32,
  big: false,
  depth: 24,
  colours: [
    [255, 16],
    [255, 8],
    [255, 0],
  ],
};

export class Viewer {
  width = 0;
  height = 0;
  name = "";
  /** Red, green and blue of each pixel as the format gives them. */
  picture: number[][] = [];
  updates = 0;
  readonly encodings: number[] = [];
  format: Format = NATIVE;
  #received = Buffer.alloc(0);
  #stream = Buffer.alloc(0);
  #inflated = 0;

  constructor(readonly send: (bytes: Uint8Array) => void) {}

  /** Bytes from the server. */
  receive(bytes: Uint8Array): void {
    this.#received = Buffer.concat([this.#received, bytes]);
  }

  /** The handshake of version 3.8, all at once. */
  hello(): void {
    this.send(Buffer.from("RFB 003.008\n\x01\x01", "latin1"));
  }

  takeHello(): void {
    const from = new Reader(this.#received);
    assert.equal(from.take(12).toString(), "RFB 003.008\n");
    assert.deepEqual([...from.take(2)], [1, 1]);
    assert.equal(from.u32(), 0);
    this.#takeInit(from);
    this.#received = this.#received.subarray(from.at);
  }

  #takeInit(from: Reader): void {
    this.#resize(from.u16(), from.u16());
    from.take(16);
    this.name = from.take(from.u32()).toString();
  }

  setFormat(format: Format): void {
    this.format = format;
    const message = Buffer.alloc(20);
    message.writeUInt8(format.bits, 4);
    message.writeUInt8(format.depth, 5);
    message.writeUInt8(format.big ? 1 : 0, 6);
    message.writeUInt8(1, 7);
    format.colours.forEach(([max, shift], i) => {
      message.writeUInt16BE(max, 8 + i * 2);
      message.writeUInt8(shift, 14 + i);
    });
    this.send(message);
  }

  setEncodings(...encodings: number[]): void {
    const message = Buffer.alloc(4 + 4 * encodings.length);
    message.writeUInt8(2, 0);
    message.writeUInt16BE(encodings.length, 2);
    encodings.forEach((encoding, i) => {
      message.writeUInt32BE(encoding, 4 + 4 * i);
    });
    this.send(message);
  }

  request(incremental: boolean, x = 0, y = 0, width = 0xffff, height = 0xffff): void {
    const message = Buffer.from([3, incremental ? 1 : 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    [x, y, width, height].forEach((value, i) => {
      message.writeUInt16BE(value, 2 + 2 * i);
    });
    this.send(message);
  }

  /** Takes one whole update; false when none has arrived. */
  takeUpdate(): boolean {
    const from = new Reader(this.#received);
    const stream = this.#stream;
    const inflated = this.#inflated;
    try {
      assert.equal(from.u8(), 0, "a FramebufferUpdate");
      from.u8();
      for (let left = from.u16(); left > 0; left--) this.#takeRectangle(from);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#stream = stream;
      this.#inflated = inflated;
      return false;
    }
    this.#received = this.#received.subarray(from.at);
    this.updates++;
    return true;
  }

  #resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.picture = Array.from({ length: width * height }, () => [-1, -1, -1]);
  }

  #takeRectangle(from: Reader): void {
    const [x, y, width, height, encoding] = [from.u16(), from.u16(), from.u16(), from.u16(), from.u32()];
    this.encodings.push(encoding);
    switch (encoding) {
      case Encoding.raw:
        for (let row = 0; row < height; row++) {
          for (let column = 0; column < width; column++) this.#put(x + column, y + row, this.#pixel(from));
        }
        break;
      case Encoding.zrle: {
        const data = from.take(from.u32());
        this.#stream = Buffer.concat([this.#stream, data]);
        const all = inflateSync(this.#stream, { finishFlush: constants.Z_SYNC_FLUSH });
        const tiles = new Reader(all.subarray(this.#inflated));
        this.#inflated = all.length;
        for (let top = 0; top < height; top += 64) {
          for (let left = 0; left < width; left += 64) {
            this.#takeTile(tiles, x + left, y + top, Math.min(64, width - left), Math.min(64, height - top));
          }
        }
        assert.equal(tiles.at, tiles.bytes.length, "no tile data too many");
        break;
      }
      case Encoding.extendedDesktopSize:
        from.take(4 + from.bytes.readUInt8(from.at) * 16);
        if (y === 0 && (width !== this.width || height !== this.height)) this.#resize(width, height);
        break;
      case Encoding.desktopSize:
        this.#resize(width, height);
        break;
      case Encoding.qemuExtendedKey:
        break;
      default:
        assert.fail(`encoding ${encoding}`);
    }
  }

  /** RFC 6143, 7.7.6. */
  #takeTile(from: Reader, x: number, y: number, width: number, height: number): void {
    const put = (i: number, pixel: number[]) => this.#put(x + (i % width), y + Math.floor(i / width), pixel);
    const kind = from.u8();
    const size = kind & 0x7f;
    if (kind === 0) {
      for (let i = 0; i < width * height; i++) put(i, this.#compactPixel(from));
      return;
    }
    const palette = Array.from({ length: kind === 128 ? 0 : size }, () => this.#compactPixel(from));
    if (kind === 1) {
      for (let i = 0; i < width * height; i++) put(i, palette[0] as number[]);
    } else if (kind <= 16) {
      const bits = size === 2 ? 1 : size <= 4 ? 2 : 4;
      for (let row = 0; row < height; row++) {
        const line = from.take(Math.ceil((width * bits) / 8));
        for (let column = 0; column < width; column++) {
          const bit = column * bits;
          const place = ((line[bit >> 3] as number) >> (8 - bits - (bit & 7))) & ((1 << bits) - 1);
          put(row * width + column, palette[place] as number[]);
        }
      }
    } else {
      assert.ok(kind >= 128 && kind !== 129, `subencoding ${kind}`);
      for (let i = 0; i < width * height; ) {
        const place = kind === 128 ? 0x80 : from.u8();
        const pixel = kind === 128 ? this.#compactPixel(from) : (palette[place & 0x7f] as number[]);
        let length = 1;
        if (place & 0x80) {
          let byte = 255;
          while (byte === 255) {
            byte = from.u8();
            length += byte;
          }
        }
        assert.ok(i + length <= width * height, "a run inside its tile");
        for (; length > 0; length--) put(i++, pixel);
      }
    }
  }

  #put(x: number, y: number, pixel: number[]): void {
    assert.ok(x < this.width && y < this.height, `${x}, ${y} is outside`);
    this.picture[y * this.width + x] = pixel;
  }

  #pixel(from: Reader): number[] {
    const { bits, big } = this.format;
    const bytes = [...from.take(bits / 8)];
    return this.#colours(big ? bytes : bytes.reverse());
  }

  /** RFC 6143, 7.7.5 */
  #compactPixel(from: Reader): number[] {
    const { bits, big, colours, depth } = this.format;
    const used = colours.reduce((all, [max, shift]) => all + max * 2 ** shift, 0);
    const low = used < 2 ** 24;
    const high = used % 256 === 0;
    if (bits !== 32 || depth > 24 || !(low || high)) return this.#pixel(from);
    const bytes = [...from.take(3)];
    if (!big) bytes.reverse();
    // Where both would do, implementations leave out the byte sent last.
    const leavesHighest = low && (!high || !big);
    return this.#colours(leavesHighest ? [0, ...bytes] : [...bytes, 0]);
  }

  #colours(bytes: number[]): number[] {
    const value = bytes.reduce((all, byte) => all * 256 + byte, 0);
    return this.format.colours.map(([max, shift]) => Math.floor(value / 2 ** shift) & max);
  }
}
