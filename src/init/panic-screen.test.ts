import assert from "node:assert/strict";
import { test } from "node:test";
import { panicScreen } from "./panic-screen.ts";

test("it says what happened and when the host restarts, within 80 columns", () => {
  const error = new Error(`mount: tmpfs at /run: ${"x".repeat(200)}`);
  const screen = panicScreen("1.2.3", error, 10);
  assert.match(screen, /THIMBLE 1\.2\.3 STOPPED/);
  assert.match(screen, /mount: tmpfs at \/run/);
  assert.match(screen, /restarts in 10 seconds/);
  for (const line of screen.split("\r\n")) assert.ok(line.length <= 80, line);
});

test("anything thrown can be shown", () => {
  for (const thrown of [undefined, null, 5, "text", { a: 1 }])
    assert.match(panicScreen("1", thrown, 1), /STOPPED/);
});
