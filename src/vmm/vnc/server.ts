/**
 * The VNC server of one machine, on a Unix socket: its file's permissions and the agent decide who may look. All
 * viewers see the same and all may type; one that asks to be alone is not.
 */
import { EAGAIN, EINTR } from "../../sys/errno.ts";
import { close } from "../../sys/fs.ts";
import { EPOLLIN, EPOLLOUT, type EventLoop, type Watch } from "../../sys/loop.ts";
import { accept, receive, send } from "../../sys/socket.ts";
import type { Clock } from "../contract.ts";
import type { VncClient } from "./client.ts";
import { Viewers, type ViewersPorts } from "./viewers.ts";

/** Some people and programs. */
const CLIENTS_MAX = 8;
const INPUT_PIECE = 4096;

export interface VncServerPorts extends ViewersPorts {
  readonly loop: EventLoop;
  readonly clock: Clock;
  readonly log: (message: string) => void;
}

interface Attached {
  readonly fd: number;
  readonly watch: Watch;
  readonly client: VncClient;
}

export class VncServer {
  readonly #ports: VncServerPorts;
  readonly #listenFd: number;
  readonly #watch: Watch;
  readonly #viewers: Viewers;
  readonly #attached = new Set<Attached>();
  readonly #input = new Uint8Array(INPUT_PIECE);
  #turnAtMs = Number.POSITIVE_INFINITY;
  #cancelTurn: () => void = () => {};

  /** `listenFd` is a listening Unix socket; it stays the caller's. */
  constructor(listenFd: number, ports: VncServerPorts) {
    this.#ports = ports;
    this.#listenFd = listenFd;
    this.#viewers = new Viewers(ports);
    this.#watch = ports.loop.watch(listenFd, EPOLLIN, () => this.#accept());
  }

  /** Drops all viewers. */
  close(): void {
    this.#watch.close();
    for (const attached of [...this.#attached]) this.#drop(attached);
  }

  #accept(): void {
    const fd = accept(this.#listenFd);
    if (fd < 0) return;
    if (this.#attached.size === CLIENTS_MAX) {
      close(fd);
      return;
    }
    let broken = "";
    const client = this.#viewers.add(
      (bytes) => {
        const taken = send(fd, bytes);
        // A broken connection is noticed when it is read from.
        return taken === -EAGAIN || taken === -EINTR ? 0 : taken < 0 ? bytes.length : taken;
      },
      (why) => {
        broken = why;
      },
    );
    const attached: Attached = {
      fd,
      client,
      watch: this.#ports.loop.watch(fd, EPOLLIN, (events) => {
        if ((events & EPOLLOUT) !== 0) client.writable();
        if ((events & ~EPOLLOUT) !== 0 && !this.#receive(attached)) this.#drop(attached);
        else if (broken !== "") {
          this.#ports.log(`a VNC client was dropped: ${broken}`);
          this.#drop(attached);
        } else {
          this.#listen(attached);
          this.#schedule(0);
        }
      }),
    };
    this.#attached.add(attached);
    this.#listen(attached);
  }

  /** Says whether the connection goes on. */
  #receive({ fd, client }: Attached): boolean {
    const size = receive(fd, this.#input);
    if (size === -EAGAIN || size === -EINTR) return true;
    if (size <= 0) return false;
    client.receive(this.#input.subarray(0, size));
    this.#viewers.hasten(this.#ports.clock.monotonicMs());
    return true;
  }

  #drop(attached: Attached): void {
    if (!this.#attached.delete(attached)) return;
    attached.watch.close();
    close(attached.fd);
    this.#viewers.remove(attached.client);
  }

  #listen({ watch, client }: Attached): void {
    watch.setEvents(EPOLLIN | (client.blocked ? EPOLLOUT : 0));
  }

  /** Through a timer and not at once: while the loop waits for it, the vCPUs' threads get the runtime. */
  #schedule(delayMs: number): void {
    const { loop, clock } = this.#ports;
    const atMs = clock.monotonicMs() + delayMs;
    if (atMs >= this.#turnAtMs) return;
    this.#cancelTurn();
    this.#turnAtMs = atMs;
    this.#cancelTurn = loop.after(delayMs, () => {
      this.#turnAtMs = Number.POSITIVE_INFINITY;
      const next = this.#viewers.turn(clock.monotonicMs());
      for (const attached of this.#attached) this.#listen(attached);
      if (next !== null) this.#schedule(next);
    });
  }
}
