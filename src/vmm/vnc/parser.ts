/**
 * Cuts what a client sends into messages (RFC 6143, 7.1 to 7.5). It keeps at most one fixed part of a message; lists and
 * texts of any length pass through item by item, or are passed over. Once a client has broken the protocol, nothing
 * more is read from it.
 */
import {
  ClientCutText,
  ClientMessage,
  KeyEvent,
  type PixelFormat,
  PointerEvent,
  PROTOCOL_VERSION,
  QemuKeyEvent,
  SCREEN_BYTES,
  SECURITY_NONE,
  SetDesktopSize,
  SetEncodings,
  SetPixelFormat,
  UpdateRequest,
} from "./bits.ts";

/** What arrived. The handshake's steps come in order before all others. */
export interface ClientEvents {
  /** 3, 7 or 8: the minor version to speak. */
  version(minor: number): void;
  /** Security is agreed on. */
  secured(): void;
  /** ClientInit: the handshake is over. */
  ready(): void;
  pixelFormat(format: ReturnType<typeof PixelFormat.decode>): void;
  /** A new list of encodings begins. */
  encodingsBegin(): void;
  encoding(encoding: number): void;
  updateRequest(incremental: boolean, x: number, y: number, width: number, height: number): void;
  keysym(keysym: number, down: boolean): void;
  /** Set 1, an 0xe0 as bit 7. */
  scancode(scancode: number, keysym: number, down: boolean): void;
  pointer(x: number, y: number, buttons: number): void;
  desktopSize(): void;
  /** The client does not keep to the protocol; `why` is for the log. */
  violation(why: string): void;
}

type State = "version" | "security" | "init" | "type" | "message" | "encodings" | "skip" | "broken";

/** A person's clipboard is read past, up to here. */
const CUT_TEXT_MAX = 16 * 1024 * 1024;
const SECURITY_BYTES = 1;
const INIT_BYTES = 1;
const ENCODING_BYTES = 4;

const MESSAGES: Readonly<Record<number, number>> = {
  [ClientMessage.setPixelFormat]: SetPixelFormat.size,
  [ClientMessage.setEncodings]: SetEncodings.size,
  [ClientMessage.framebufferUpdateRequest]: UpdateRequest.size,
  [ClientMessage.keyEvent]: KeyEvent.size,
  [ClientMessage.pointerEvent]: PointerEvent.size,
  [ClientMessage.clientCutText]: ClientCutText.size,
  [ClientMessage.setDesktopSize]: SetDesktopSize.size,
  [ClientMessage.qemu]: QemuKeyEvent.size,
};

export class ClientParser {
  readonly #events: ClientEvents;
  readonly #part = new Uint8Array(SetPixelFormat.size);
  #state: State = "version";
  #have = 0;
  #need = PROTOCOL_VERSION.length;
  /** Encodings, or bytes to pass over. */
  #left = 0;

  constructor(events: ClientEvents) {
    this.#events = events;
  }

  feed(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#state === "broken") return;
      if (this.#state === "skip") {
        const skipped = Math.min(this.#left, bytes.length - at);
        at += skipped;
        this.#left -= skipped;
        if (this.#left === 0) this.#next("type", 1);
        continue;
      }
      while (this.#have < this.#need && at < bytes.length) this.#part[this.#have++] = bytes[at++] as number;
      if (this.#have === this.#need) this.#step();
    }
  }

  #next(state: State, need: number): void {
    this.#state = state;
    this.#need = need;
    this.#have = 0;
  }

  #break(why: string): void {
    this.#state = "broken";
    this.#events.violation(why);
  }

  #step(): void {
    const part = this.#part;
    const type = part[0] as number;
    switch (this.#state) {
      case "version":
        this.#version();
        break;
      case "security":
        if (type !== SECURITY_NONE) {
          this.#break(`it chose the security type ${type}`);
          break;
        }
        this.#next("init", INIT_BYTES);
        this.#events.secured();
        break;
      case "init":
        this.#next("type", 1);
        this.#events.ready();
        break;
      case "type": {
        const size = MESSAGES[type];
        if (size === undefined) {
          this.#break(`it sent a message of type ${type}`);
          break;
        }
        this.#state = "message";
        this.#need = size;
        break;
      }
      case "encodings":
        this.#have = 0;
        if (--this.#left === 0) this.#next("type", 1);
        this.#events.encoding(
          (((part[0] as number) << 24) |
            ((part[1] as number) << 16) |
            ((part[2] as number) << 8) |
            (part[3] as number)) >>>
            0,
        );
        break;
      default:
        this.#message(type);
    }
  }

  /** RFC 6143, 7.1.1: unknown versions are taken for the oldest. */
  #version(): void {
    const text = String.fromCharCode(...this.#part.subarray(0, PROTOCOL_VERSION.length));
    if (!/^RFB \d{3}\.\d{3}\n$/.test(text)) {
      this.#break("it does not speak RFB");
      return;
    }
    const newest = text >= PROTOCOL_VERSION ? 8 : text === "RFB 003.007\n" ? 7 : 3;
    // In version 3.3 the server decides on security.
    if (newest === 3) this.#next("init", INIT_BYTES);
    else this.#next("security", SECURITY_BYTES);
    this.#events.version(newest);
  }

  #message(type: number): void {
    const part = this.#part;
    const events = this.#events;
    this.#next("type", 1);
    switch (type) {
      case ClientMessage.setPixelFormat:
        events.pixelFormat(SetPixelFormat.decode(part).format);
        break;
      case ClientMessage.setEncodings: {
        this.#left = SetEncodings.decode(part).count;
        if (this.#left > 0) this.#next("encodings", ENCODING_BYTES);
        events.encodingsBegin();
        break;
      }
      case ClientMessage.framebufferUpdateRequest: {
        const { incremental, x, y, width, height } = UpdateRequest.decode(part);
        events.updateRequest(incremental !== 0, x, y, width, height);
        break;
      }
      case ClientMessage.keyEvent: {
        const { key, down } = KeyEvent.decode(part);
        events.keysym(key, down !== 0);
        break;
      }
      case ClientMessage.pointerEvent: {
        const { x, y, buttons } = PointerEvent.decode(part);
        events.pointer(x, y, buttons);
        break;
      }
      case ClientMessage.clientCutText: {
        const { length } = ClientCutText.decode(part);
        if (length > CUT_TEXT_MAX) this.#break(`it sent a clipboard of ${length} bytes`);
        else this.#skip(length);
        break;
      }
      case ClientMessage.setDesktopSize:
        this.#skip(SetDesktopSize.decode(part).screens * SCREEN_BYTES);
        events.desktopSize();
        break;
      default: {
        const { subtype, down, key, scancode } = QemuKeyEvent.decode(part);
        if (subtype !== 0) this.#break(`it sent a QEMU message of subtype ${subtype}`);
        else events.scancode(scancode, key, down !== 0);
      }
    }
  }

  #skip(bytes: number): void {
    this.#left = bytes;
    if (bytes > 0) this.#next("skip", 0);
  }
}
