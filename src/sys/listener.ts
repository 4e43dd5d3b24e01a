/** Accepting and making connections. */
import { ThimbleError } from "../base/errors.ts";
import { AF_INET, AF_UNIX, decodeInetAddress, inetAddress, unixAddress } from "./address.ts";
import { EAGAIN, ECONNABORTED, EINPROGRESS, EINTR, SystemError } from "./errno.ts";
import { close, tryUnlink } from "./fs.ts";
import { EPOLLIN, EPOLLOUT, type EventLoop, type Watch } from "./loop.ts";
import {
  accept,
  bind,
  connect,
  getSocketOption,
  IPPROTO_TCP,
  listen,
  localAddress,
  SO_ERROR,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
  setSocketOption,
  socket,
  TCP_NODELAY,
} from "./socket.ts";
import { Stream, type StreamOptions } from "./stream.ts";

/** Connections that wait to be accepted. */
const BACKLOG = 128;
/** Connections taken per report, so that a flood of them leaves the loop time for others. */
const ACCEPT_BATCH = 16;
/** How long accepting rests when descriptors or memory ran out: the waiting connection would report itself at once. */
const EXHAUSTED_PAUSE_MS = 100;

/** A socket that accepts connections. */
export class Listener {
  readonly #watch: Watch;
  #closed = false;

  constructor(
    readonly loop: EventLoop,
    readonly fd: number,
    private readonly onConnection: (stream: Stream) => void,
    private readonly options: StreamOptions = {},
  ) {
    this.#watch = loop.watch(fd, EPOLLIN, () => this.#accept());
  }

  /** The TCP port it listens on. */
  get port(): number {
    return decodeInetAddress(localAddress(this.fd)).port;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    close(this.fd);
  }

  #accept(): void {
    for (let i = 0; i < ACCEPT_BATCH && !this.#closed; i++) {
      const fd = accept(this.fd);
      if (fd === -EAGAIN) return;
      if (fd === -EINTR || fd === -ECONNABORTED) continue;
      if (fd < 0) {
        this.#watch.setEvents(0);
        this.loop.after(EXHAUSTED_PAUSE_MS, () => {
          if (!this.#closed) this.#watch.setEvents(EPOLLIN);
        });
        return;
      }
      this.onConnection(new Stream(this.loop, fd, this.options));
    }
  }
}

/** Listens on a TCP address; port 0 takes a free one. Throws SystemError (EADDRINUSE). */
export function listenTcp(
  loop: EventLoop,
  address: string,
  port: number,
  onConnection: (stream: Stream) => void,
  options?: StreamOptions,
): Listener {
  const fd = socket(AF_INET, SOCK_STREAM);
  try {
    setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    bind(fd, inetAddress(address, port), `${address}:${port}`);
    setSocketOption(fd, IPPROTO_TCP, TCP_NODELAY, 1); // accepted sockets inherit it
    listen(fd, BACKLOG);
  } catch (error) {
    close(fd);
    throw error;
  }
  return new Listener(loop, fd, onConnection, options);
}

/** Listens on a Unix socket, replacing one that a former process left at the path. */
export function listenUnix(
  loop: EventLoop,
  path: string,
  onConnection: (stream: Stream) => void,
  options?: StreamOptions,
): Listener {
  const fd = socket(AF_UNIX, SOCK_STREAM);
  try {
    tryUnlink(path);
    bind(fd, unixAddress(path), path);
    listen(fd, BACKLOG);
  } catch (error) {
    close(fd);
    throw error;
  }
  return new Listener(loop, fd, onConnection, options);
}

function connectStream(
  loop: EventLoop,
  family: number,
  address: Uint8Array,
  name: string,
  timeoutMs: number,
  options?: StreamOptions,
): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const fd = socket(family, SOCK_STREAM);
    const settle = (errno: number) => {
      if (errno === 0) {
        resolve(new Stream(loop, fd, options));
      } else {
        close(fd);
        reject(new SystemError(errno, "connect", name));
      }
    };
    if (family === AF_INET) setSocketOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    const result = connect(fd, address);
    if (result !== -EINPROGRESS) {
      settle(-result);
      return;
    }
    const cancelTimeout = loop.after(timeoutMs, () => {
      watch.close();
      close(fd);
      reject(new ThimbleError("connect_timeout", `${name} did not answer within ${timeoutMs} ms`));
    });
    const watch = loop.watch(fd, EPOLLOUT, () => {
      watch.close();
      cancelTimeout();
      settle(getSocketOption(fd, SOL_SOCKET, SO_ERROR));
    });
  });
}

/** Connects by TCP. Rejects with SystemError (ECONNREFUSED …) or ThimbleError("connect_timeout"). */
export function connectTcp(
  loop: EventLoop,
  address: string,
  port: number,
  timeoutMs = 10_000,
  options?: StreamOptions,
): Promise<Stream> {
  return connectStream(loop, AF_INET, inetAddress(address, port), `${address}:${port}`, timeoutMs, options);
}

/** Connects to a Unix socket. Rejects with SystemError (ENOENT, ECONNREFUSED, EAGAIN when its backlog is full). */
export function connectUnix(loop: EventLoop, path: string, options?: StreamOptions): Promise<Stream> {
  return connectStream(loop, AF_UNIX, unixAddress(path), path, 0, options);
}
