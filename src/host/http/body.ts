/**
 * Where a request's body ends: by its length or in chunks (RFC 9112, sections 6 and 7.1).
 *
 * Bytes go in as they come and come out as views of the same memory, so a body of gigabytes passes through without
 * being copied or kept.
 */
import { RequestError } from "./errors.ts";
import type { BodyFraming } from "./head.ts";

/** The line with a chunk's size, its extensions included; extensions are ignored. */
const CHUNK_LINE_MAX = 256;
/** 2^48 bytes in one chunk. */
const CHUNK_SIZE_DIGITS_MAX = 12;
/** Fields after the last chunk, which are read and dropped. */
const TRAILER_SIZE_MAX = 4096;

const LF = 0x0a;
const CR = 0x0d;

/** Where in a chunked body the next byte is. */
type ChunkState = "size" | "data" | "dataEnd" | "trailer";

export class BodyDecoder {
  /** The body is complete. */
  done: boolean;
  /** How many bytes of its input the last `decode` used; the rest is to be given again, or belongs to the next request. */
  used = 0;
  readonly #chunked: boolean;
  /** Bytes left in the body, or in the present chunk. */
  #left = 0;
  #state: ChunkState = "size";
  #line = "";
  #trailerSize = 0;

  constructor(framing: BodyFraming) {
    this.done = framing.kind === "none";
    this.#chunked = framing.kind === "chunked";
    if (framing.kind === "length") this.#left = framing.lengthBytes;
  }

  /**
   * The next piece of the body that `input` holds, a view of it; null when it holds none. To be called until `used`
   * is all of the input or `done`. Throws RequestError for what is no chunked body.
   */
  decode(input: Uint8Array): Uint8Array | null {
    this.used = 0;
    if (this.done) return null;
    if (!this.#chunked) {
      const piece = this.#take(input);
      this.done = this.#left === 0;
      return piece;
    }
    while (this.used < input.length && !this.done) {
      if (this.#state === "data") {
        const piece = this.#take(input);
        if (this.#left === 0) this.#state = "dataEnd";
        return piece;
      }
      this.#endOfLine(input[this.used++] as number);
    }
    return null;
  }

  #take(input: Uint8Array): Uint8Array | null {
    const size = Math.min(this.#left, input.length - this.used);
    const piece = input.subarray(this.used, this.used + size);
    this.used += size;
    this.#left -= size;
    return size === 0 ? null : piece;
  }

  /** One byte of the lines between chunks. */
  #endOfLine(byte: number): void {
    const afterCr = this.#line.endsWith("\r");
    if (byte === LF) {
      if (!afterCr) throw badChunk("A line of the chunked body does not end in CR LF.");
      const line = this.#line.slice(0, -1);
      this.#line = "";
      this.#lineEnded(line);
      return;
    }
    if (afterCr || (byte < 0x20 && byte !== CR && byte !== 0x09) || byte === 0x7f) {
      throw badChunk("The chunked body has a control character between chunks.");
    }
    if (this.#state === "dataEnd" && byte !== CR) throw badChunk("A chunk is longer than its size says.");
    this.#line += String.fromCharCode(byte);
    if (this.#state === "trailer") {
      if (++this.#trailerSize > TRAILER_SIZE_MAX) throw badChunk("The chunked body's trailer is too large.");
    } else if (this.#line.length > CHUNK_LINE_MAX) {
      throw badChunk("The line with a chunk's size is too long.");
    }
  }

  #lineEnded(line: string): void {
    if (this.#state === "dataEnd") {
      this.#state = "size";
    } else if (this.#state === "trailer") {
      if (line === "") this.done = true;
    } else {
      const digits = /^([0-9A-Fa-f]+)[ \t]*(?:;.*)?$/.exec(line)?.[1];
      if (digits === undefined) throw badChunk("A chunk's size is malformed.");
      if (digits.length > CHUNK_SIZE_DIGITS_MAX) throw badChunk("A chunk's size is too large.");
      this.#left = Number.parseInt(digits, 16);
      this.#state = this.#left === 0 ? "trailer" : "data";
    }
  }
}

function badChunk(message: string): RequestError {
  return new RequestError(400, "bad_chunk", message);
}
