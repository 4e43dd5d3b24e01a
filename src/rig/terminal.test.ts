import assert from "node:assert/strict";
import { test } from "node:test";
import { EscapeFilter } from "./terminal.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array): string => new TextDecoder().decode(value);

test("ordinary keys go to the guest", () => {
  const { toGuest, end } = new EscapeFilter().take(bytes("ls -l\r\x1b[A"));
  assert.equal(text(toGuest), "ls -l\r\x1b[A");
  assert.equal(end, false);
});

test("Ctrl-C ends, what was typed before it still arrives", () => {
  const { toGuest, end } = new EscapeFilter().take(bytes("ab\x03cd"));
  assert.equal(text(toGuest), "ab");
  assert.equal(end, true);
});

test("the escape works across pieces of input", () => {
  const filter = new EscapeFilter();
  assert.equal(text(filter.take(bytes("a\x1d")).toGuest), "a");
  assert.equal(text(filter.take(bytes("cb")).toGuest), "\x03b");
  assert.equal(text(filter.take(bytes("\x1d]")).toGuest), "\x1d");
  assert.equal(filter.take(bytes("\x1dq")).end, true);
});
