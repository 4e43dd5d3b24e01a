/**
 * A serial port or console on a Unix socket.
 *
 * Several clients may be attached. Each first gets the last output that was kept, then what comes; input of all goes
 * to the guest. A client that does not read is dropped when too much waits for it: the guest never waits for clients.
 * A client whose input the guest does not take is simply not read from until the guest has room again.
 */
import { EAGAIN, EINTR } from "../../sys/errno.ts";
import { close } from "../../sys/fs.ts";
import { EPOLLIN, EPOLLOUT, type EventLoop, type Watch } from "../../sys/loop.ts";
import { accept, receive, send } from "../../sys/socket.ts";
import type { CharBackend } from "../contract.ts";
import { Scrollback } from "./scrollback.ts";

/** Output kept for clients that attach later: several screens. */
const SCROLLBACK_BYTES = 64 * 1024;
/** Output that may wait for a slow client, beside what its socket holds. */
const CLIENT_QUEUE_MAX = 256 * 1024;
const INPUT_PIECE = 4096;
/** An agent, a person or two, and tests. */
const CLIENTS_MAX = 16;

export class CharSocket implements CharBackend {
  readonly #loop: EventLoop;
  readonly #listenFd: number;
  readonly #watch: Watch;
  readonly #scrollback = new Scrollback(SCROLLBACK_BYTES);
  readonly #clients: Client[] = [];
  #receiver: ((bytes: Uint8Array) => number) | null = null;

  /** `listenFd` is a listening Unix socket; it stays the caller's. */
  constructor(loop: EventLoop, listenFd: number) {
    this.#loop = loop;
    this.#listenFd = listenFd;
    this.#watch = loop.watch(listenFd, EPOLLIN, () => this.#accept());
  }

  write(bytes: Uint8Array): void {
    this.#scrollback.append(bytes);
    for (const client of this.#clients.slice()) client.write(bytes);
  }

  onInput(receiver: (bytes: Uint8Array) => number): void {
    this.#receiver = receiver;
  }

  resume(): void {
    for (const client of this.#clients.slice()) client.offer();
  }

  /** Drops all clients. */
  close(): void {
    this.#watch.close();
    for (const client of this.#clients.slice()) client.close();
  }

  #accept(): void {
    const fd = accept(this.#listenFd);
    if (fd < 0) return;
    if (this.#clients.length === CLIENTS_MAX) {
      close(fd);
      return;
    }
    const client = new Client(
      this.#loop,
      fd,
      (bytes) => this.#receiver?.(bytes) ?? bytes.length,
      () => {
        const index = this.#clients.indexOf(client);
        if (index >= 0) this.#clients.splice(index, 1);
      },
    );
    this.#clients.push(client);
    client.write(this.#scrollback.content());
  }
}

class Client {
  readonly #watch: Watch;
  #closed = false;
  /** Output the socket did not take, oldest first. */
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** Input the guest did not take. */
  #input: Uint8Array = new Uint8Array(0);

  constructor(
    loop: EventLoop,
    readonly fd: number,
    private readonly receiver: (bytes: Uint8Array) => number,
    private readonly closed: () => void,
  ) {
    this.#watch = loop.watch(fd, EPOLLIN, (events) => this.#ready(events));
  }

  write(bytes: Uint8Array): void {
    if (this.#closed || bytes.length === 0) return;
    let rest = bytes;
    if (this.#queue.length === 0) {
      const taken = this.#send(bytes);
      if (taken < 0 || taken === bytes.length) return;
      rest = bytes.subarray(taken);
    }
    if (this.#queuedBytes + rest.length > CLIENT_QUEUE_MAX) {
      this.close();
      return;
    }
    this.#queue.push(rest.slice());
    this.#queuedBytes += rest.length;
    this.#listen();
  }

  /** Offers again what the guest did not take. */
  offer(): void {
    if (this.#closed || this.#input.length === 0) return;
    this.#input = this.#input.subarray(this.receiver(this.#input));
    this.#listen();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    close(this.fd);
    this.closed();
  }

  #ready(events: number): void {
    if ((events & EPOLLOUT) !== 0) this.#flush();
    if (!this.#closed && (events & ~EPOLLOUT) !== 0) this.#receive();
  }

  #receive(): void {
    const buffer = new Uint8Array(INPUT_PIECE);
    const size = receive(this.fd, buffer);
    if (size === -EAGAIN || size === -EINTR) return;
    if (size <= 0) {
      this.close();
      return;
    }
    this.#input = buffer.subarray(0, size);
    this.offer();
  }

  #flush(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const taken = this.#send(first);
      if (taken < 0) return;
      this.#queuedBytes -= taken;
      if (taken < first.length) {
        this.#queue[0] = first.subarray(taken);
        break;
      }
      this.#queue.shift();
    }
    this.#listen();
  }

  /** What the socket took; negative when the connection was broken and is now closed. */
  #send(bytes: Uint8Array): number {
    const result = send(this.fd, bytes);
    if (result === -EAGAIN || result === -EINTR) return 0;
    if (result < 0) this.close();
    return result;
  }

  #listen(): void {
    if (this.#closed) return;
    // With neither, a client that hangs up goes unnoticed only until the guest takes its input or prints something.
    this.#watch.setEvents((this.#input.length === 0 ? EPOLLIN : 0) | (this.#queue.length > 0 ? EPOLLOUT : 0));
  }
}
