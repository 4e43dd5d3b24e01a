/** ASN.1's distinguished encoding (X.690), as far as a signature in an executable needs it. */
import { ThimbleError } from "../../base/errors.ts";

export const Tag = {
  Integer: 0x02,
  BitString: 0x03,
  OctetString: 0x04,
  Null: 0x05,
  ObjectIdentifier: 0x06,
  Sequence: 0x30,
  Set: 0x31,
} as const;

/** The tag of [`number`] in a definition; `constructed` when it holds other elements (X.690, 8.1.2). */
export function contextTag(number: number, constructed: boolean): number {
  return 0x80 | (constructed ? 0x20 : 0) | number;
}

/** An element: tag, length and contents. */
export function element(tag: number, ...contents: Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  return Buffer.concat([Uint8Array.of(tag), lengthOctets(content.length), content]);
}

function lengthOctets(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return Uint8Array.of(0x80 | octets.length, ...octets);
}

export function sequence(...contents: Uint8Array[]): Buffer {
  return element(Tag.Sequence, ...contents);
}

/** A set: its elements in the order of their encodings (X.690, 11.6). */
export function set(...contents: Uint8Array[]): Buffer {
  return element(Tag.Set, ...[...contents].sort(Buffer.compare));
}

/** A small number. */
export function integer(value: number): Buffer {
  return element(Tag.Integer, Uint8Array.of(value));
}

export function octetString(value: Uint8Array): Buffer {
  return element(Tag.OctetString, value);
}

export const NULL = element(Tag.Null);

/** An object identifier from its dotted form. */
export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const octets = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift(0x80 | (left % 128));
    }
    octets.push(...groups);
  }
  return element(Tag.ObjectIdentifier, Uint8Array.from(octets));
}

export interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and contents. */
  readonly whole: Uint8Array;
}

/** The elements that `data` is made of. Throws ThimbleError("bad_der"). */
export function readElements(data: Uint8Array): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < data.length; ) {
    const one = readElement(data, at);
    elements.push(one);
    at += one.whole.length;
  }
  return elements;
}

function readElement(data: Uint8Array, at: number): Element {
  const bad = (why: string) => new ThimbleError("bad_der", `ASN.1 data at ${at}: ${why}.`);
  const tag = data[at];
  const first = data[at + 1];
  if (tag === undefined || first === undefined) throw bad("they end within an element");
  let length = first;
  let start = at + 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 4 || start + count > data.length) throw bad("a length is not one");
    length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + (data[start++] as number);
  }
  if (start + length > data.length) throw bad("an element is longer than what holds it");
  return { tag, content: data.subarray(start, start + length), whole: data.subarray(at, start + length) };
}
