/** A request's body as it is read: piece by piece, on demand, so that a client sends no faster than it is used. */
import type { BodyDecoder } from "./body.ts";
import { RequestError } from "./errors.ts";
import type { TimedConnection } from "./timed-connection.ts";

export class BodyReader {
  readonly #decoder: BodyDecoder;
  readonly #input: TimedConnection;
  readonly #timeoutMs: number;
  readonly #onFirstRead: () => Promise<void>;
  #started = false;
  #failed = false;

  /** `onFirstRead` runs before the first byte is waited for: to send "100 Continue". */
  constructor(
    decoder: BodyDecoder,
    input: TimedConnection,
    timeoutMs: number,
    onFirstRead: () => Promise<void>,
  ) {
    this.#decoder = decoder;
    this.#input = input;
    this.#timeoutMs = timeoutMs;
    this.#onFirstRead = onFirstRead;
  }

  /** The next piece; null after the last. Throws RequestError when the body is malformed or was cut short. */
  async read(): Promise<Uint8Array | null> {
    if (!this.#started) {
      this.#started = true;
      if (!this.#decoder.done) await this.#onFirstRead();
    }
    while (!this.#decoder.done) {
      if (this.#failed) throw cutShort();
      const bytes = await this.#input.read(this.#timeoutMs);
      if (bytes === null) {
        this.#failed = true;
        throw cutShort();
      }
      const piece = this.#decode(bytes);
      if (piece !== null) return piece;
    }
    return null;
  }

  /** Drops what has come already. Says whether the body is complete with it, so that the next request can follow. */
  finish(): boolean {
    try {
      while (!this.#decoder.done && this.#input.hasInput && !this.#failed) {
        const bytes = this.#input.takeInput();
        this.#decode(bytes);
      }
    } catch {
      this.#failed = true;
    }
    return this.#decoder.done && !this.#failed;
  }

  #decode(bytes: Uint8Array): Uint8Array | null {
    try {
      const piece = this.#decoder.decode(bytes);
      if (this.#decoder.used < bytes.length) this.#input.unread(bytes.subarray(this.#decoder.used));
      return piece;
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }
}

function cutShort(): RequestError {
  return new RequestError(400, "body_cut_short", "The request's body ended before it was complete.");
}
