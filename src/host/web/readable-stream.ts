/** The part of the web-standard `ReadableStream` that bodies use: a pull source with one reader. */

interface Controller<T> {
  enqueue(chunk: T): void;
  close(): void;
}

interface Source<T> {
  /** Called when a reader wants a chunk and none is there. */
  pull?(controller: Controller<T>): void | Promise<void>;
  /** Called when nobody will read on. */
  cancel?(reason?: unknown): void | Promise<void>;
}

type ReadResult<T> =
  | { readonly done: false; readonly value: T }
  | { readonly done: true; readonly value: undefined };

export class WebReadableStream<T> {
  readonly #source: Source<T>;
  readonly #queue: T[] = [];
  #ended = false;
  locked = false;

  constructor(source: Source<T> = {}) {
    this.#source = source;
  }

  getReader(): {
    read(): Promise<ReadResult<T>>;
    cancel(reason?: unknown): Promise<void>;
    releaseLock(): void;
  } {
    if (this.locked) throw new TypeError("the stream has a reader already");
    this.locked = true;
    return {
      read: () => this.#read(),
      cancel: (reason) => this.#cancel(reason),
      releaseLock: () => {
        this.locked = false;
      },
    };
  }

  async cancel(reason?: unknown): Promise<void> {
    if (this.locked) throw new TypeError("the stream has a reader, which alone may cancel it");
    await this.#cancel(reason);
  }

  async #read(): Promise<ReadResult<T>> {
    while (this.#queue.length === 0 && !this.#ended) {
      if (this.#source.pull === undefined) throw new TypeError("the stream has no source");
      await this.#source.pull({
        enqueue: (chunk) => this.#queue.push(chunk),
        close: () => {
          this.#ended = true;
        },
      });
    }
    const value = this.#queue.shift();
    return value === undefined ? { done: true, value: undefined } : { done: false, value };
  }

  async #cancel(reason: unknown): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue.length = 0;
    await this.#source.cancel?.(reason);
  }
}
