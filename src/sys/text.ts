/** UTF-8, by the bridge in the image and by the platform under the unit-test runner. */

/** Whether this runs in the image's runtime, with system calls to use. */
export const hasBridge: boolean = typeof globalThis.bridge !== "undefined";

/** The bytes of a text. A lone surrogate becomes U+FFFD. */
export function utf8Encode(text: string): Uint8Array<ArrayBuffer> {
  return hasBridge ? bridge.utf8Encode(text) : new Uint8Array(new TextEncoder().encode(text));
}

/** The text of UTF-8 bytes; malformed sequences become U+FFFD, a byte order mark stays. */
export function utf8Decode(bytes: Uint8Array): string {
  return hasBridge ? bridge.utf8Decode(bytes) : new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** A text as C wants it: UTF-8 with a zero at the end. Throws RangeError when the text itself holds a zero. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new RangeError("a path or name must not contain a zero character");
  return utf8Encode(`${text}\0`);
}

/** The text before the first zero in `bytes`, from `start` on; all of it when there is none. */
export function fromCString(bytes: Uint8Array, start = 0): string {
  const end = bytes.indexOf(0, start);
  return utf8Decode(bytes.subarray(start, end < 0 ? bytes.length : end));
}
