/** The fallback without the bridge agrees with it: the same cases run in native/bridge.native.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cString, fromCString, hasBridge, utf8Decode, utf8Encode } from "./text.ts";

test("UTF-8 both ways without the bridge", () => {
  assert.equal(hasBridge, false);
  for (const text of ["", "plain", "h\u00e9", "\u20ac", "\u{1f600}x", "a\0b", "\ufeffmark"]) {
    assert.equal(utf8Decode(utf8Encode(text)), text);
  }
  assert.deepEqual([...utf8Encode("\ud800x")], [0xef, 0xbf, 0xbd, 0x78]);
  assert.equal(utf8Decode(Uint8Array.of(0xe2, 0x82, 0x41)), "\ufffdA");
});

test("C strings", () => {
  assert.deepEqual([...cString("ab")], [0x61, 0x62, 0]);
  assert.throws(() => cString("a\0b"), RangeError);
  assert.equal(fromCString(Uint8Array.of(0x61, 0x62, 0, 0x63)), "ab");
  assert.equal(fromCString(Uint8Array.of(0x61, 0x62, 0, 0x63), 3), "c");
});
