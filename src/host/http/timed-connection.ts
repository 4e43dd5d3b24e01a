/**
 * A connection with time limits: a peer that stalls is closed. A broken connection reads as ended, since a server does
 * the same about both.
 */
import type { Connection, Platform } from "../platform/platform.ts";

export class TimedConnection {
  readonly #platform: Pick<Platform, "after">;
  readonly #connection: Connection;
  /** Bytes received but given back. */
  #rest: Uint8Array = new Uint8Array(0);
  #timedOut = false;

  constructor(platform: Pick<Platform, "after">, connection: Connection) {
    this.#platform = platform;
    this.#connection = connection;
  }

  /** Whether a limit was exceeded. */
  get timedOut(): boolean {
    return this.#timedOut;
  }

  get hasInput(): boolean {
    return this.#rest.length > 0;
  }

  /** Gives bytes back: the next `read` returns them. */
  unread(bytes: Uint8Array): void {
    this.#rest = bytes;
  }

  /** What was given back, or nothing. */
  takeInput(): Uint8Array {
    const rest = this.#rest;
    this.#rest = new Uint8Array(0);
    return rest;
  }

  /** The next bytes; null at the end, when the connection broke, and when nothing came in time. */
  async read(timeoutMs: number): Promise<Uint8Array | null> {
    if (this.#rest.length > 0) return this.takeInput();
    const cancel = this.#limit(timeoutMs);
    try {
      return await this.#connection.read();
    } catch {
      return null;
    } finally {
      cancel();
    }
  }

  /** Rejects when the connection broke or the peer did not take the bytes in time. */
  async write(data: Uint8Array, timeoutMs: number): Promise<void> {
    const cancel = this.#limit(timeoutMs);
    try {
      await this.#connection.write(data);
    } finally {
      cancel();
    }
  }

  /** Ends sending, then reads and drops for a while: a reset must not overtake the answer (RFC 9112, 9.6). */
  async linger(timeoutMs: number): Promise<void> {
    this.#connection.end();
    const cancel = this.#limit(timeoutMs);
    this.#rest = new Uint8Array(0);
    while ((await this.#connection.read().catch(() => null)) !== null);
    cancel();
  }

  close(): void {
    this.#connection.close();
  }

  #limit(timeoutMs: number): () => void {
    return this.#platform.after(timeoutMs, () => {
      this.#timedOut = true;
      this.#connection.close();
    });
  }
}
