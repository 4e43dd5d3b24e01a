/**
 * Connections over the event loop: TCP and Unix streams, and any other descriptor that epoll takes (pipes, terminals).
 *
 * Reading waits for the descriptor to be ready and only then reads, once: a fast sender cannot keep the loop from its
 * other work. Writing is tried at once; what the kernel does not take waits in a queue of bounded size. The descriptor
 * is watched for input only while somebody reads: what nobody reads stays in the kernel and slows the sender down.
 */
import { ThimbleError } from "../base/errors.ts";
import { formatAddress } from "./address.ts";
import { EAGAIN, EINTR, ENOTCONN, SystemError } from "./errno.ts";
import { close } from "./fs.ts";
import { EPOLLIN, EPOLLOUT, type EventLoop, type Watch } from "./loop.ts";
import { peerAddress, shutdownWrite } from "./socket.ts";
import { SYS } from "./syscall-numbers.ts";

/** Taken from the kernel per read: as much as it hands out at once under load, and small against a VM's memory. */
const READ_SIZE = 64 * 1024;
/** Where reads go before they are copied to their size; one for all, as only one thread runs at a time. */
let scratch: Uint8Array<ArrayBuffer> | null = null;

export interface StreamOptions {
  /** Bytes that may wait to be written; more fail with ThimbleError("stream_overrun"). */
  readonly maxQueuedBytes?: number;
}

interface PendingWrite {
  data: Uint8Array;
  resolve: () => void;
  reject: (error: unknown) => void;
}

interface PendingRead {
  resolve: (data: Uint8Array<ArrayBuffer> | null) => void;
  reject: (error: unknown) => void;
}

export class Stream {
  readonly #watch: Watch;
  readonly #maxQueuedBytes: number;
  readonly #queue: PendingWrite[] = [];
  #queuedBytes = 0;
  #read: PendingRead | null = null;
  #wantsInput = false;
  #error: SystemError | null = null;
  #ended = false;
  #shutDown = false;
  #closed = false;
  #onClose: (() => void) | null = null;

  /** Takes over a non-blocking descriptor. */
  constructor(
    loop: EventLoop,
    readonly fd: number,
    options: StreamOptions = {},
  ) {
    this.#maxQueuedBytes = options.maxQueuedBytes ?? 1024 * 1024;
    this.#watch = loop.watch(fd, 0, (events) => this.#ready(events));
  }

  /** Who is at the other end, for logs: `192.0.2.1:1234`, or `local`. */
  get remote(): string {
    return formatAddress(peerAddress(this.fd));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes given to `write` that the kernel has not taken yet. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Is called once, when `close` is, by whomever. */
  set onClose(callback: (() => void) | null) {
    this.#onClose = callback;
  }

  /**
   * The next bytes, as they come; null when the peer has sent all, or this end was closed. Rejects with SystemError when
   * the connection broke (ECONNRESET). One read at a time.
   */
  read(): Promise<Uint8Array<ArrayBuffer> | null> {
    if (this.#closed) return Promise.resolve(null);
    if (this.#error !== null) return Promise.reject(this.#error);
    if (this.#read !== null) {
      return Promise.reject(
        new ThimbleError("stream_busy", "a second read was started before the first was done"),
      );
    }
    return new Promise((resolve, reject) => {
      this.#read = { resolve, reject };
      this.#wantsInput = true;
      this.#listen();
    });
  }

  /**
   * Writes all of `data`; resolves when the kernel has taken it. The caller leaves `data` unchanged until then. Rejects
   * with SystemError when the connection broke (EPIPE, ECONNRESET), ThimbleError("stream_closed") after `close` or
   * `end`, and ThimbleError("stream_overrun") when too much waits already: then nothing of it was written.
   */
  write(data: Uint8Array): Promise<void> {
    if (this.#closed || this.#ended) {
      return Promise.reject(
        new ThimbleError("stream_closed", "the connection was closed before this was written"),
      );
    }
    if (this.#error !== null) return Promise.reject(this.#error);
    let rest = data;
    if (this.#queue.length === 0) {
      const result = this.#send(data);
      if (result < 0) return Promise.reject(this.#fail(-result, "write"));
      if (result === data.length) return Promise.resolve();
      rest = data.subarray(result);
    } else if (this.#queuedBytes + data.length > this.#maxQueuedBytes) {
      return Promise.reject(
        new ThimbleError(
          "stream_overrun",
          `${this.#queuedBytes} bytes wait for a reader that does not take them`,
        ),
      );
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ data: rest, resolve, reject });
      this.#queuedBytes += rest.length;
      this.#listen();
    });
  }

  /** Tells the peer that all was sent, once it is. Reading goes on. */
  end(): void {
    this.#ended = true;
    if (this.#queue.length === 0) this.#finish();
  }

  /** Closes at once. A waiting read gives null, waiting writes are rejected. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    close(this.fd);
    this.#read?.resolve(null);
    this.#read = null;
    this.#rejectWrites(
      new ThimbleError("stream_closed", "the connection was closed before this was written"),
    );
    this.#onClose?.();
  }

  /** Hands the descriptor over, without closing it; nothing may be waiting. */
  release(): number {
    this.#closed = true;
    this.#watch.close();
    return this.fd;
  }

  /** What the kernel took, 0 when it has no room, or a negative errno. */
  #send(data: Uint8Array): number {
    const result = bridge.syscall(SYS.write, this.fd, data, data.length);
    return result === -EAGAIN || result === -EINTR ? 0 : result;
  }

  #ready(events: number): void {
    if ((events & ~EPOLLOUT) !== 0) this.#input(); // also hang-up and error: reading tells which
    if (!this.#closed && (events & ~EPOLLIN) !== 0 && this.#queue.length > 0) this.#output();
    if (!this.#closed) this.#listen();
  }

  #input(): void {
    const reader = this.#read;
    if (reader === null) {
      this.#wantsInput = false; // nobody has asked since the last read
      return;
    }
    scratch ??= new Uint8Array(READ_SIZE);
    const size = bridge.syscall(SYS.read, this.fd, scratch, READ_SIZE);
    if (size === -EAGAIN || size === -EINTR) return;
    this.#read = null;
    if (size < 0) {
      this.#wantsInput = false;
      reader.reject(this.#fail(-size, "read"));
    } else if (size === 0) {
      this.#wantsInput = false;
      reader.resolve(null);
    } else {
      reader.resolve(scratch.slice(0, size));
    }
  }

  #output(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const result = this.#send(first.data);
      if (result < 0) {
        this.#fail(-result, "write");
        return;
      }
      this.#queuedBytes -= result;
      if (result < first.data.length) {
        first.data = first.data.subarray(result);
        return;
      }
      this.#queue.shift();
      first.resolve();
    }
    if (this.#ended) this.#finish();
  }

  #finish(): void {
    if (this.#shutDown || this.#closed) return;
    this.#shutDown = true;
    const result = shutdownWrite(this.fd);
    if (result < 0 && result !== -ENOTCONN) this.#fail(-result, "shutdown");
  }

  /** The connection is broken: what waits to be written never will be. */
  #fail(errno: number, call: string): SystemError {
    const error = new SystemError(errno, call, "connection");
    this.#error ??= error;
    this.#rejectWrites(error);
    return error;
  }

  #rejectWrites(error: unknown): void {
    this.#queuedBytes = 0;
    for (const pending of this.#queue.splice(0)) pending.reject(error);
  }

  #listen(): void {
    this.#watch.setEvents((this.#wantsInput ? EPOLLIN : 0) | (this.#queue.length > 0 ? EPOLLOUT : 0));
  }
}
