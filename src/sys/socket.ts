/**
 * Sockets as the kernel has them, all non-blocking and close-on-exec, with addresses as raw bytes (address.ts). Streams
 * over the event loop are in stream.ts.
 */

import { SOCKADDR_MAX } from "./address.ts";
import type { SyscallArgument } from "./bridge.ts";
import { check } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_BROADCAST = 6;
export const SO_KEEPALIVE = 9;
export const SO_BINDTODEVICE = 25;
export const SO_ATTACH_FILTER = 26;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;

const SHUT_WR = 1;
/** Errors of a send come as a result, never as SIGPIPE (ignored in this runtime anyway). */
const MSG_NOSIGNAL = 0x4000;

/** A new socket. Throws SystemError. */
export function socket(family: number, type: number, protocol = 0): number {
  return check(bridge.syscall(SYS.socket, family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol), "socket");
}

/** Two connected sockets. */
export function socketPair(family: number, type: number): [number, number] {
  const ends = new Int32Array(2);
  check(bridge.syscall(SYS.socketpair, family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "socketpair");
  return [ends[0] as number, ends[1] as number];
}

/** `object` names the address in errors. */
export function bind(fd: number, address: Uint8Array, object?: string): void {
  check(bridge.syscall(SYS.bind, fd, address, address.length), "bind", object);
}

export function listen(fd: number, backlog: number): void {
  check(bridge.syscall(SYS.listen, fd, backlog), "listen");
}

/** Returns 0 when connected at once, or a negative errno: -EINPROGRESS when EPOLLOUT will say. */
export function connect(fd: number, address: Uint8Array): number {
  return bridge.syscall(SYS.connect, fd, address, address.length);
}

/** Sends nothing more; the peer reads to the end. Returns 0 or a negative errno. */
export function shutdownWrite(fd: number): number {
  return bridge.syscall(SYS.shutdown, fd, SHUT_WR);
}

/** Sends one datagram, to `address` or where the socket is connected. Returns its size or a negative errno. */
export function sendTo(fd: number, data: Uint8Array, address: Uint8Array | null): number {
  return bridge.syscall(
    SYS.sendto,
    fd,
    data,
    data.length,
    MSG_NOSIGNAL,
    address,
    address === null ? 0 : address.length,
  );
}

/** Sender of the last datagram `receiveFrom` took, and its length. */
const sender = new Uint8Array(SOCKADDR_MAX);
const senderLength = new Uint32Array(1);

/** Takes one datagram. Returns its size, cut off at the target's, or a negative errno (-EAGAIN: none is waiting). */
export function receiveFrom(fd: number, target: Uint8Array): number {
  senderLength[0] = SOCKADDR_MAX;
  return bridge.syscall(SYS.recvfrom, fd, target, target.length, 0, sender, senderLength);
}

/** Who sent the datagram that `receiveFrom` returned last, as address bytes. */
export function lastSender(): Uint8Array<ArrayBuffer> {
  return sender.slice(0, Math.min(senderLength[0] as number, SOCKADDR_MAX));
}

/** Sets an option to a number, or to bytes where it takes a structure or a name. Throws SystemError. */
export function setSocketOption(fd: number, level: number, option: number, value: number | Uint8Array): void {
  const memory: SyscallArgument = typeof value === "number" ? new Int32Array([value]) : value;
  const length = typeof value === "number" ? 4 : value.length;
  check(bridge.syscall(SYS.setsockopt, fd, level, option, memory, length), "setsockopt", `option ${option}`);
}

/** The number an option has. Reading SO_ERROR clears it. */
export function getSocketOption(fd: number, level: number, option: number): number {
  const value = new Int32Array([0, 4]);
  const lengthAt = value.subarray(1);
  check(bridge.syscall(SYS.getsockopt, fd, level, option, value, lengthAt), "getsockopt", `option ${option}`);
  return value[0] as number;
}

/** The socket's own address, which tells the port after binding to port 0. */
export function localAddress(fd: number): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(SOCKADDR_MAX);
  const length = new Uint32Array([SOCKADDR_MAX]);
  check(bridge.syscall(SYS.getsockname, fd, address, length), "getsockname");
  return address.slice(0, length[0]);
}

/** The peer's address; empty when the connection is gone already. */
export function peerAddress(fd: number): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(SOCKADDR_MAX);
  const length = new Uint32Array([SOCKADDR_MAX]);
  const result = bridge.syscall(SYS.getpeername, fd, address, length);
  return address.slice(0, result < 0 ? 0 : length[0]);
}

/** Takes a waiting connection: its descriptor, or a negative errno (-EAGAIN: none is waiting). */
export function accept(fd: number): number {
  return bridge.syscall(SYS.accept4, fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/** Sends from a stream: the size taken, or a negative errno. */
export function send(fd: number, data: Uint8Array): number {
  return bridge.syscall(SYS.sendto, fd, data, data.length, MSG_NOSIGNAL, null, 0);
}

/** Receives from a stream: the size, 0 when the peer has ended, or a negative errno. */
export function receive(fd: number, target: Uint8Array): number {
  return bridge.syscall(SYS.recvfrom, fd, target, target.length, 0, null, null);
}
