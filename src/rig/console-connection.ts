/** A VM's console over WebSocket: bytes both ways. */
import WebSocket from "ws";
import { ThimbleError } from "../base/errors.ts";
import { TextFeed } from "./text-feed.ts";

export class ConsoleConnection {
  /** All output since attaching, beginning with what the host kept from before. */
  readonly feed = new TextFeed();
  /** Resolves when the connection is closed, by whichever side. */
  readonly closed: Promise<void>;
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Buffer) => this.feed.push(data));
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.feed.end("The console was closed");
        resolve();
      });
    });
  }

  /** Errors: `console_refused` when the host does not open the console. */
  static open(url: string, token: string): Promise<ConsoleConnection> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, {
        headers: { authorization: `Bearer ${token}` },
        perMessageDeflate: false,
        handshakeTimeout: 20_000,
      });
      socket.binaryType = "nodebuffer";
      // Made before the handshake ends: the first output may come in the same packet as the handshake's answer.
      const connection = new ConsoleConnection(socket);
      socket.once("open", () => resolve(connection));
      socket.once("error", (error) =>
        reject(new ThimbleError("console_refused", `The host did not open the console: ${error.message}`)),
      );
    });
  }

  /** Types text or bytes into the console. */
  type(input: string | Uint8Array): void {
    const bytes = typeof input === "string" ? Buffer.from(input) : input;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(bytes, { binary: true });
  }

  /** Closes properly. */
  close(): Promise<void> {
    this.#socket.close();
    return this.closed;
  }

  /** Vanishes: the connection is reset without a closing handshake. */
  vanish(): void {
    this.#socket.terminate();
  }
}
