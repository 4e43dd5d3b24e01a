/** A netlink socket: requests that the kernel answers at once, and multicast messages through the loop. */
import { struct, u16, u32 } from "../../base/layout.ts";
import { EAGAIN, ENOBUFS, SystemError } from "../errno.ts";
import { close, poll } from "../fs.ts";
import { EPOLLIN, type EventLoop } from "../loop.ts";
import { bind, receiveFrom, SOCK_RAW, sendTo, setSocketOption, socket } from "../socket.ts";
import {
  decodeMessages,
  encodeMessage,
  errorOf,
  type Message,
  MessageFlag,
  MessageType,
} from "./messages.ts";

const AF_NETLINK = 16;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
export const NETLINK_ROUTE = 0;
export const NETLINK_GENERIC = 16;

const SockaddrNl = struct("sockaddr_nl", "include/uapi/linux/netlink.h", {
  family: u16,
  pad: u16,
  port: u32,
  groups: u32,
});

/** The kernel fills a dump's messages into pages of this size at the most. */
const RECEIVE_BUFFER_BYTES = 32 * 1024;
/** A reply is there when the request returns; this only bounds a kernel that never sends the end of a dump. */
const REPLY_PATIENCE_MS = 5000;

export class NetlinkSocket {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(RECEIVE_BUFFER_BYTES);
  #sequence = 0;

  constructor(protocol: number) {
    this.#fd = socket(AF_NETLINK, SOCK_RAW, protocol);
    bind(this.#fd, SockaddrNl.encode({ family: AF_NETLINK }), "netlink");
  }

  /**
   * Sends one request and returns what answers it. `dump` asks for all objects. Throws SystemError naming `object`
   * when the kernel refuses.
   */
  request(type: number, flags: number, object: string, ...parts: readonly Uint8Array[]): Message[] {
    const sequence = ++this.#sequence;
    const isDump = (flags & MessageFlag.dump) === MessageFlag.dump;
    const kind = isDump ? MessageFlag.request : MessageFlag.request | MessageFlag.acknowledge;
    const sent = sendTo(this.#fd, encodeMessage({ type, flags: flags | kind, sequence }, ...parts), null);
    if (sent < 0) throw new SystemError(-sent, "netlink send", object);
    return this.#replies(sequence, object);
  }

  #replies(sequence: number, object: string): Message[] {
    const replies: Message[] = [];
    for (;;) {
      for (const message of this.#receive(object)) {
        if (message.sequence !== sequence) continue;
        if (message.type === MessageType.done) return replies;
        if (message.type === MessageType.error) {
          const errno = errorOf(message);
          if (errno !== 0) throw new SystemError(errno, "netlink", object);
          return replies;
        }
        replies.push({ ...message, body: message.body.slice() });
      }
    }
  }

  #receive(object: string): Message[] {
    for (;;) {
      const size = receiveFrom(this.#fd, this.#buffer);
      if (size >= 0) return decodeMessages(this.#buffer.subarray(0, size));
      if (size !== -EAGAIN) throw new SystemError(-size, "netlink receive", object);
      if (poll(this.#fd, EPOLLIN, REPLY_PATIENCE_MS) === 0) throw new SystemError(EAGAIN, "netlink", object);
    }
  }

  /** Receives the messages of a multicast group from now on. Use a socket of its own: requests would lose them. */
  subscribe(group: number, loop: EventLoop, callback: (message: Message) => void): () => void {
    setSocketOption(this.#fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    const watch = loop.watch(this.#fd, EPOLLIN, () => {
      for (;;) {
        const size = receiveFrom(this.#fd, this.#buffer);
        if (size === -ENOBUFS) continue; // some were lost; the next ones are still worth hearing
        if (size < 0) return;
        for (const message of decodeMessages(this.#buffer.slice(0, size))) callback(message);
      }
    });
    return () => watch.close();
  }

  close(): void {
    close(this.#fd);
  }
}
