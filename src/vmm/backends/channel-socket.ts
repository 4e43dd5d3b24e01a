/**
 * A channel on a Unix socket.
 *
 * One client at a time is served, and only while a program in the guest has the channel open: until then a client that
 * connects waits, with what it has sent. When the guest closes its end the client gets what was written before, and
 * then its connection ends.
 */
import { EPOLLIN, type EventLoop, type Watch } from "../../sys/loop.ts";
import { accept } from "../../sys/socket.ts";
import type { ChannelBackend, ChannelEvents } from "../contract.ts";
import { SocketClient } from "./socket-client.ts";

/** With more than this waiting for the client the guest waits, too. A chain that is under way then still fits. */
const QUEUE_MAX = 64 * 1024;

export class ChannelSocket implements ChannelBackend {
  readonly #loop: EventLoop;
  readonly #listenFd: number;
  readonly #watch: Watch;
  #events: ChannelEvents | null = null;
  #open = false;
  #client: SocketClient | null = null;
  /** One that still takes what the guest wrote before it closed its end. */
  #leaving: SocketClient | null = null;

  /** `listenFd` is a listening Unix socket; it stays the caller's. */
  constructor(loop: EventLoop, listenFd: number) {
    this.#loop = loop;
    this.#listenFd = listenFd;
    this.#watch = loop.watch(listenFd, 0, () => this.#accept());
  }

  get hasRoom(): boolean {
    return (this.#client?.queuedBytes ?? 0) <= QUEUE_MAX;
  }

  connect(events: ChannelEvents): void {
    this.#events = events;
  }

  write(bytes: Uint8Array): void {
    this.#client?.write(bytes);
  }

  setOpen(open: boolean): void {
    if (open === this.#open) return;
    this.#open = open;
    if (!open) {
      this.#leaving?.close();
      this.#leaving = this.#client;
      this.#client = null;
      this.#leaving?.end();
    }
    this.#listen();
  }

  resume(): void {
    this.#client?.offer();
  }

  #accept(): void {
    const fd = accept(this.#listenFd);
    if (fd < 0) return;
    const client: SocketClient = new SocketClient(
      this.#loop,
      fd,
      (bytes) => (client === this.#client ? (this.#events?.input(bytes) ?? bytes.length) : bytes.length),
      () => this.#closed(client),
      () => this.#events?.room(),
    );
    this.#client = client;
    this.#listen();
    this.#events?.connected(true);
  }

  #closed(client: SocketClient): void {
    if (client === this.#leaving) this.#leaving = null;
    if (client !== this.#client) return;
    this.#client = null;
    this.#listen();
    this.#events?.connected(false);
    this.#events?.room();
  }

  #listen(): void {
    this.#watch.setEvents(this.#open && this.#client === null ? EPOLLIN : 0);
  }
}
