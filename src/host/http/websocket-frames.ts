/**
 * WebSocket frames (RFC 6455, section 5), from the server's side: bytes in, messages and control frames out, and the
 * other way round. Pure: whoever has the connection is in websocket.ts.
 */
import { ThimbleError } from "../../base/errors.ts";
import { join } from "../join.ts";
import { isUtf8 } from "./utf8.ts";

export const Opcode = { Continuation: 0, Text: 1, Binary: 2, Close: 8, Ping: 9, Pong: 10 } as const;

/** Status codes of a close frame (7.4.1). */
export const CloseCode = {
  Normal: 1000,
  GoingAway: 1001,
  ProtocolError: 1002,
  Unsupported: 1003,
  /** Means that the frame had none; never sent. */
  NoStatus: 1005,
  BadData: 1007,
  TooBig: 1009,
  TryAgainLater: 1013,
} as const;

const FIN = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;
/** 5.5: control frames carry at most this much. */
const CONTROL_SIZE_MAX = 125;
const MASK_BYTES = 4;
/** Fragments of one message; also those without a byte cost memory. */
const FRAGMENTS_MAX = 1024;

/** The peer broke the protocol; `closeCode` is what to close with. */
export class FrameError extends ThimbleError {
  constructor(
    readonly closeCode: number,
    message: string,
  ) {
    super("websocket_protocol", message);
  }
}

export type Message =
  | { readonly kind: "text" | "binary" | "ping" | "pong"; readonly data: Uint8Array }
  | { readonly kind: "close"; readonly code: number };

/** Assembles what a client sends. */
export class FrameParser {
  readonly #messageMax: number;
  #pending: Uint8Array = new Uint8Array(0);
  /** Pieces of the fragmented message that has begun. */
  #fragments: Uint8Array[] = [];
  #fragmentBytes = 0;
  #fragmentKind: "text" | "binary" | null = null;

  /** `messageMax` is the largest message in bytes, all fragments together. */
  constructor(messageMax: number) {
    this.#messageMax = messageMax;
  }

  /** All messages that are complete with `input`. Throws FrameError; then the connection is to be closed. */
  feed(input: Uint8Array): Message[] {
    this.#pending = this.#pending.length === 0 ? input : join(this.#pending, input);
    const messages: Message[] = [];
    for (let size = this.#frame(messages); size > 0; size = this.#frame(messages)) {
      this.#pending = this.#pending.subarray(size);
    }
    this.#pending = this.#pending.slice(); // not to hold on to the memory of what came with it
    return messages;
  }

  /** Handles the frame at the start of what is pending. Returns its size, 0 while it is not complete. */
  #frame(messages: Message[]): number {
    const bytes = this.#pending;
    if (bytes.length < 2) return 0;
    const first = bytes[0] as number;
    const second = bytes[1] as number;
    const opcode = first & 0x0f;
    const final = (first & FIN) !== 0;
    const control = opcode >= Opcode.Close;
    const shortLength = second & 0x7f;
    if ((first & RESERVED) !== 0) throw protocolError("reserved bits are set");
    if ((second & MASKED) === 0) throw protocolError("a client's frame is not masked");
    if (opcode > Opcode.Pong || (opcode > Opcode.Binary && !control)) throw protocolError("unknown opcode");
    if (control && (!final || shortLength > CONTROL_SIZE_MAX)) {
      throw protocolError("a control frame is fragmented or too long");
    }
    if (!control && (opcode === Opcode.Continuation) !== (this.#fragmentKind !== null)) {
      throw protocolError("fragments are out of order");
    }
    const lengthBytes = shortLength === 126 ? 2 : shortLength === 127 ? 8 : 0;
    const headerSize = 2 + lengthBytes + MASK_BYTES;
    if (bytes.length < 2 + lengthBytes) return 0;
    const size = lengthBytes === 0 ? shortLength : extendedLength(bytes, lengthBytes);
    if (!control && size + this.#fragmentBytes > this.#messageMax) {
      throw new FrameError(CloseCode.TooBig, `a message is larger than ${this.#messageMax} bytes`);
    }
    if (bytes.length < headerSize + size) return 0;
    const data = bytes.slice(headerSize, headerSize + size);
    const maskAt = headerSize - MASK_BYTES;
    for (let i = 0; i < size; i++) {
      data[i] = (data[i] as number) ^ (bytes[maskAt + (i & 3)] as number);
    }
    if (control) messages.push(controlMessage(opcode, data));
    else this.#data(opcode, final, data, messages);
    return headerSize + size;
  }

  #data(opcode: number, final: boolean, data: Uint8Array, messages: Message[]): void {
    const kind = this.#fragmentKind ?? (opcode === Opcode.Text ? "text" : "binary");
    this.#fragments.push(data);
    this.#fragmentBytes += data.length;
    this.#fragmentKind = final ? null : kind;
    if (this.#fragments.length > FRAGMENTS_MAX) throw new FrameError(CloseCode.TooBig, "too many fragments");
    if (!final) return;
    const whole = this.#fragments.length === 1 ? data : join(...this.#fragments);
    this.#fragments = [];
    this.#fragmentBytes = 0;
    if (kind === "text" && !isUtf8(whole)) throw new FrameError(CloseCode.BadData, "a text is not UTF-8");
    messages.push({ kind, data: whole });
  }
}

function protocolError(message: string): FrameError {
  return new FrameError(CloseCode.ProtocolError, message);
}

/** 5.2: network order, as short as possible. Lengths no message may have need not be exact. */
function extendedLength(bytes: Uint8Array, lengthBytes: number): number {
  let size = 0;
  for (let i = 0; i < lengthBytes; i++) size = size * 256 + (bytes[2 + i] as number);
  if (size < (lengthBytes === 2 ? 126 : 65536)) throw protocolError("a length is not in its shortest form");
  return size;
}

function controlMessage(opcode: number, data: Uint8Array): Message {
  if (opcode === Opcode.Ping) return { kind: "ping", data };
  if (opcode === Opcode.Pong) return { kind: "pong", data };
  if (data.length === 0) return { kind: "close", code: CloseCode.NoStatus };
  if (data.length === 1) throw protocolError("a close frame's status is cut off");
  const code = (data[0] as number) * 256 + (data[1] as number);
  const defined =
    (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code < 5000);
  if (!defined) throw protocolError("a close frame's status is not one that may be sent");
  if (!isUtf8(data.subarray(2)))
    throw new FrameError(CloseCode.BadData, "a close frame's reason is not UTF-8");
  return { kind: "close", code };
}

/** One unfragmented, unmasked frame. */
export function encodeFrame(opcode: number, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const lengthBytes = data.length < 126 ? 0 : data.length < 65536 ? 2 : 8;
  const frame = new Uint8Array(2 + lengthBytes + data.length);
  frame[0] = FIN | opcode;
  frame[1] = lengthBytes === 0 ? data.length : lengthBytes === 2 ? 126 : 127;
  let rest = data.length;
  for (let i = 1 + lengthBytes; i > 1; i--) {
    frame[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  frame.set(data, 2 + lengthBytes);
  return frame;
}

/** A close frame. `reason` is at most 123 bytes of ASCII. */
export function encodeClose(code: number, reason = ""): Uint8Array<ArrayBuffer> {
  if (code === CloseCode.NoStatus) return encodeFrame(Opcode.Close, new Uint8Array(0));
  const text = Array.from(reason.slice(0, CONTROL_SIZE_MAX - 2), (char) => char.charCodeAt(0) & 0x7f);
  return encodeFrame(Opcode.Close, Uint8Array.of(code >> 8, code & 0xff, ...text));
}
