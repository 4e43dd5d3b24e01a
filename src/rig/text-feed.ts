/**
 * The text side of a console: bytes come in pieces, readers wait for patterns in it.
 *
 * The last part of the text is kept, so a reader may look for what has already come. Positions count characters
 * from the start of the feed.
 */
import { ThimbleError } from "../base/errors.ts";

/** Kept characters. A shell command's output must fit, tables dumped as base64 included. */
const keptMax = 16 * 1024 * 1024;

interface Waiter {
  readonly pattern: RegExp;
  readonly from: number;
  readonly resolve: (match: FeedMatch) => void;
  readonly reject: (error: Error) => void;
}

export interface FeedMatch {
  readonly match: RegExpExecArray;
  /** Position right after the match. */
  readonly end: number;
}

export class TextFeed {
  #text = "";
  #dropped = 0;
  #ended: string | undefined;
  readonly #decoder = new TextDecoder();
  readonly #waiters = new Set<Waiter>();
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();

  /** Takes bytes as they come. */
  push(bytes: Uint8Array): void {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    if (this.#text.length > keptMax) {
      const drop = this.#text.length - keptMax / 2;
      this.#text = this.#text.slice(drop);
      this.#dropped += drop;
    }
    for (const listener of this.#listeners) listener(bytes);
    for (const waiter of [...this.#waiters]) this.#try(waiter);
  }

  /** No more bytes will come; whoever waits gets an error that ends with `reason`. */
  end(reason: string): void {
    this.#ended ??= reason;
    for (const waiter of [...this.#waiters]) {
      this.#waiters.delete(waiter);
      waiter.reject(this.#endError(waiter.pattern));
    }
  }

  /** The position after the last character so far. */
  get position(): number {
    return this.#dropped + this.#text.length;
  }

  /** Text from a position on, as far as it is kept. */
  since(position: number): string {
    return this.#text.slice(Math.max(0, position - this.#dropped));
  }

  /** The last lines, for error messages. */
  tail(lines = 15): string {
    return this.#text.slice(-16384).trimEnd().split(/\r?\n/).slice(-lines).join("\n");
  }

  /** Calls `listener` with every piece that comes from now on. Returns how to stop that. */
  subscribe(listener: (bytes: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Waits for the pattern in the text from `from` on. Errors: `console_timed_out`, `console_ended`, both with the
   * last lines of the text.
   */
  waitFor(pattern: RegExp, timeoutMs: number, from = 0): Promise<FeedMatch> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        const message = `${pattern} did not appear within ${timeoutMs / 1000} s. The last lines were:\n${this.tail()}`;
        reject(new ThimbleError("console_timed_out", message));
      }, timeoutMs);
      const waiter: Waiter = {
        pattern,
        from,
        resolve: (match) => {
          clearTimeout(timer);
          resolve(match);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      if (this.#try(waiter)) return;
      if (this.#ended !== undefined) waiter.reject(this.#endError(pattern));
      else this.#waiters.add(waiter);
    });
  }

  #try(waiter: Waiter): boolean {
    const start = Math.max(0, waiter.from - this.#dropped);
    const match = waiter.pattern.exec(this.#text.slice(start));
    if (match === null) return false;
    this.#waiters.delete(waiter);
    waiter.resolve({ match, end: this.#dropped + start + match.index + match[0].length });
    return true;
  }

  #endError(pattern: RegExp): ThimbleError {
    const message = `${this.#ended} before ${pattern} appeared. The last lines were:\n${this.tail()}`;
    return new ThimbleError("console_ended", message);
  }
}
