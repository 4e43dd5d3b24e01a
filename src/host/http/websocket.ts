/**
 * A WebSocket on a connection (RFC 6455): handshake, messages, pings, and both sides' closing.
 *
 * `receive` is to be called all the time, also by a user who only sends: answers to pings and the closing handshake
 * happen in it. A client that is silent and does not answer pings either is gone; its connection is closed.
 */
import { utf8Encode } from "../../sys/text.ts";
import type { Connection, Platform } from "../platform/platform.ts";
import { base64 } from "./base64.ts";
import { RequestError } from "./errors.ts";
import { headerList, headerOf, type RequestHead } from "./head.ts";
import { sha1 } from "./sha1.ts";
import {
  CloseCode,
  encodeClose,
  encodeFrame,
  FrameError,
  FrameParser,
  type Message,
  Opcode,
} from "./websocket-frames.ts";

/** What a person pastes into a console. */
const MESSAGE_SIZE_MAX = 64 * 1024;
/** A silent client is asked for a sign of life this often, and given up after twice the time. */
const PING_INTERVAL_MS = 30_000;
/** How long the peer has to answer a close frame. */
const CLOSE_TIMEOUT_MS = 2000;
/** A client that takes nothing for this long is given up. */
const SEND_TIMEOUT_MS = 20_000;
/** RFC 6455, 1.3 */
const HANDSHAKE_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/**
 * The answer to a client's opening handshake (4.2.2), up to and with the empty line. `subprotocol` is named in it when
 * the client offers it.
 * Throws RequestError when the request is none.
 */
export function acceptHandshake(head: RequestHead, subprotocol?: string): string {
  const key = headerOf(head, "sec-websocket-key");
  if (
    !headerList(head, "upgrade").includes("websocket") ||
    !headerList(head, "connection").includes("upgrade")
  ) {
    throw new RequestError(
      426,
      "websocket_required",
      "This resource is a WebSocket: connect with a WebSocket client.",
    );
  }
  if (
    head.method !== "GET" ||
    head.minorVersion !== 1 ||
    key === null ||
    !/^[A-Za-z0-9+/]{22}==$/.test(key)
  ) {
    throw new RequestError(400, "bad_handshake", "The WebSocket handshake is malformed.");
  }
  if (headerOf(head, "sec-websocket-version") !== "13") {
    throw new RequestError(426, "websocket_version", "The only WebSocket version known is 13.");
  }
  const offered =
    subprotocol !== undefined && headerList(head, "sec-websocket-protocol").includes(subprotocol);
  const accept = base64(sha1(utf8Encode(key + HANDSHAKE_GUID)));
  return (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Accept: ${accept}\r\n` +
    `${offered ? `Sec-WebSocket-Protocol: ${subprotocol}\r\n` : ""}\r\n`
  );
}

/** A message with content. */
export type DataMessage = Message & { readonly kind: "text" | "binary" };

export class WebSocketConnection {
  readonly #platform: Pick<Platform, "after">;
  readonly #connection: Connection;
  readonly #parser = new FrameParser(MESSAGE_SIZE_MAX);
  readonly #ready: DataMessage[] = [];
  #input: Uint8Array | null;
  #cancelPing: () => void = () => {};
  #unanswered = 0;
  #closeSent = false;
  #closed = false;

  /** `input` is what came after the handshake already. */
  constructor(platform: Pick<Platform, "after">, connection: Connection, input: Uint8Array) {
    this.#platform = platform;
    this.#connection = connection;
    this.#input = input;
    this.#schedulePing();
  }

  /** The next message; null when the connection has ended, in whatever way. */
  async receive(): Promise<DataMessage | null> {
    for (;;) {
      const message = this.#ready.shift();
      if (message !== undefined) return message;
      if (this.#closed) return null;
      const bytes = this.#input ?? (await this.#connection.read().catch(() => null));
      this.#input = null;
      if (bytes === null) {
        this.#finish();
        continue;
      }
      this.#unanswered = 0;
      try {
        for (const item of this.#parser.feed(bytes)) await this.#handle(item);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        await this.#failWith(error);
      }
    }
  }

  /** Sends a binary message; resolves when the kernel has taken it. Does nothing after the end. */
  async send(data: Uint8Array): Promise<void> {
    if (!this.#closeSent) await this.#write(encodeFrame(Opcode.Binary, data));
  }

  /** Starts the closing handshake; `receive` ends when the peer has answered, or soon in any case. */
  async close(code: number, reason = ""): Promise<void> {
    if (this.#closeSent) return;
    this.#closeSent = true;
    this.#platform.after(CLOSE_TIMEOUT_MS, () => this.#finish());
    await this.#write(encodeClose(code, reason));
  }

  async #handle(message: Message): Promise<void> {
    if (message.kind === "close") {
      await this.close(message.code === CloseCode.NoStatus ? CloseCode.Normal : message.code);
      this.#finish();
    } else if (message.kind === "ping") {
      if (!this.#closeSent) await this.#write(encodeFrame(Opcode.Pong, message.data));
    } else if (message.kind !== "pong" && !this.#closed) {
      this.#ready.push(message as DataMessage);
    }
  }

  /** Says why, then closes without waiting for an answer from a peer that does not follow the protocol. */
  async #failWith(error: FrameError): Promise<void> {
    await this.close(error.closeCode, error.message);
    this.#finish();
  }

  async #write(frame: Uint8Array): Promise<void> {
    const cancel = this.#platform.after(SEND_TIMEOUT_MS, () => this.#finish());
    try {
      await this.#connection.write(frame);
    } catch {
      this.#finish();
    } finally {
      cancel();
    }
  }

  #schedulePing(): void {
    this.#cancelPing = this.#platform.after(PING_INTERVAL_MS, () => {
      if (this.#unanswered >= 2) {
        this.#finish();
        return;
      }
      this.#unanswered++;
      this.#schedulePing();
      if (!this.#closeSent) void this.#write(encodeFrame(Opcode.Ping, new Uint8Array(0)));
    });
  }

  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closeSent = true;
    this.#cancelPing();
    this.#connection.close();
  }
}
