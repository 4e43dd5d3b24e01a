/**
 * A serial port or console on a Unix socket.
 *
 * Several clients may be attached. Each first gets the last output that was kept, then what comes; input of all goes
 * to the guest. A client that does not read is dropped when too much waits for it: the guest never waits for clients.
 * A client whose input the guest does not take is simply not read from until the guest has room again.
 */
import { close } from "../../sys/fs.ts";
import { EPOLLIN, type EventLoop, type Watch } from "../../sys/loop.ts";
import { accept } from "../../sys/socket.ts";
import type { CharBackend } from "../contract.ts";
import { Scrollback } from "./scrollback.ts";
import { SocketClient } from "./socket-client.ts";

/** Output kept for clients that attach later: several screens. */
const SCROLLBACK_BYTES = 64 * 1024;
/** An agent, a person or two, and tests. */
const CLIENTS_MAX = 16;

export class CharSocket implements CharBackend {
  readonly #loop: EventLoop;
  readonly #listenFd: number;
  readonly #watch: Watch;
  readonly #scrollback = new Scrollback(SCROLLBACK_BYTES);
  readonly #clients: SocketClient[] = [];
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
    const client = new SocketClient(
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
