/**
 * Netlink messages as bytes: headers and attributes, encoded and taken apart. Nothing here touches a socket.
 * Source: include/uapi/linux/netlink.h, netlink(7).
 */
import { i32, struct, u16, u32 } from "../../base/layout.ts";

export const MessageHeader = struct("nlmsghdr", "include/uapi/linux/netlink.h", {
  length: u32,
  type: u16,
  flags: u16,
  sequence: u32,
  port: u32,
});

const AttributeHeader = struct("nlattr", "include/uapi/linux/netlink.h", { length: u16, type: u16 });
const ErrorBody = struct("nlmsgerr", "include/uapi/linux/netlink.h", { error: i32 });

export const MessageType = { noop: 1, error: 2, done: 3, overrun: 4 } as const;

export const MessageFlag = {
  request: 0x1,
  acknowledge: 0x4,
  dump: 0x300,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
} as const;

/** Nested and byte-order marks that the kernel may set in an attribute's type. */
const ATTRIBUTE_TYPE_MASK = 0x3fff;
const NESTED = 0x8000;

export interface Message {
  readonly type: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

export type Attribute = readonly [type: number, value: Uint8Array];

function align(size: number): number {
  return (size + 3) & ~3;
}

/** One whole message; `parts` follow each other, each padded to four bytes. */
export function encodeMessage(
  header: { readonly type: number; readonly flags: number; readonly sequence: number },
  ...parts: readonly Uint8Array[]
): Uint8Array<ArrayBuffer> {
  const length = parts.reduce((sum, part) => sum + align(part.length), MessageHeader.size);
  const out = new Uint8Array(length);
  MessageHeader.patch(out, 0, { ...header, length, port: 0 });
  let at = MessageHeader.size;
  for (const part of parts) {
    out.set(part, at);
    at += align(part.length);
  }
  return out;
}

/** Attributes in a row. */
export function encodeAttributes(attributes: readonly Attribute[]): Uint8Array<ArrayBuffer> {
  const total = attributes.reduce((sum, [, value]) => sum + align(AttributeHeader.size + value.length), 0);
  const out = new Uint8Array(total);
  let at = 0;
  for (const [type, value] of attributes) {
    AttributeHeader.patch(out, at, { length: AttributeHeader.size + value.length, type });
    out.set(value, at + AttributeHeader.size);
    at += align(AttributeHeader.size + value.length);
  }
  return out;
}

/** An attribute that holds attributes. */
export function nested(type: number, attributes: readonly Attribute[]): Attribute {
  return [type | NESTED, encodeAttributes(attributes)];
}

/** The messages in what one receive returned; a header that does not fit ends them. */
export function decodeMessages(received: Uint8Array): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at + MessageHeader.size <= received.length; ) {
    const { length, type, sequence } = MessageHeader.decode(received, at);
    if (length < MessageHeader.size || at + length > received.length) break;
    messages.push({ type, sequence, body: received.subarray(at + MessageHeader.size, at + length) });
    at += align(length);
  }
  return messages;
}

/** Attributes from `at` to the end; of two with one type the last counts. A header that does not fit ends them. */
export function decodeAttributes(body: Uint8Array, at = 0): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  while (at + AttributeHeader.size <= body.length) {
    const { length, type } = AttributeHeader.decode(body, at);
    if (length < AttributeHeader.size || at + length > body.length) break;
    attributes.set(type & ATTRIBUTE_TYPE_MASK, body.subarray(at + AttributeHeader.size, at + length));
    at += align(length);
  }
  return attributes;
}

/** The positive errno of an error message; 0 for an acknowledgement. */
export function errorOf(message: Message): number {
  return message.body.length < ErrorBody.size ? 0 : Math.abs(ErrorBody.decode(message.body).error);
}

export function u32Bytes(value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

export function u16Of(bytes: Uint8Array | undefined): number {
  return bytes === undefined || bytes.length < 2 ? 0 : (bytes[0] as number) | ((bytes[1] as number) << 8);
}

export function u32Of(bytes: Uint8Array | undefined): number {
  if (bytes === undefined || bytes.length < 4) return 0;
  return (u16Of(bytes) | (u16Of(bytes.subarray(2)) << 16)) >>> 0;
}
