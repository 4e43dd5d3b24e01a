/** One client of a socket of the machine: output waits for it within bounds, its input waits for the guest. */
import { EAGAIN, EINTR } from "../../sys/errno.ts";
import { close } from "../../sys/fs.ts";
import { EPOLLIN, EPOLLOUT, type EventLoop, type Watch } from "../../sys/loop.ts";
import { receive, send } from "../../sys/socket.ts";

/** Output that may wait for a slow client, beside what its socket holds. */
export const CLIENT_QUEUE_MAX = 256 * 1024;
const INPUT_PIECE = 4096;

export class SocketClient {
  readonly #watch: Watch;
  #closed = false;
  /** Output the socket did not take, oldest first. */
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** Input the guest did not take. */
  #input: Uint8Array = new Uint8Array(0);
  #ending = false;

  constructor(
    loop: EventLoop,
    readonly fd: number,
    private readonly receiver: (bytes: Uint8Array) => number,
    private readonly closed: () => void,
    private readonly drained: () => void = () => {},
  ) {
    this.#watch = loop.watch(fd, EPOLLIN, (events) => this.#ready(events));
  }

  /** Output that waits here. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Sends, now or when the client takes it; one that leaves CLIENT_QUEUE_MAX lying is dropped. */
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

  /** Closes it as soon as the client has taken what waits for it. Its input is nobody's from now on. */
  end(): void {
    this.#ending = true;
    this.#input = new Uint8Array(0);
    if (this.#queue.length === 0) this.close();
    else this.#listen();
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
    if (this.#queue.length === 0) {
      if (this.#ending) this.close();
      else this.drained();
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
    this.#watch.setEvents(
      (this.#input.length === 0 && !this.#ending ? EPOLLIN : 0) | (this.#queue.length > 0 ? EPOLLOUT : 0),
    );
  }
}
