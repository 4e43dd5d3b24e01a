import assert from "node:assert/strict";
import { test } from "node:test";
import { BackOff } from "./back-off.ts";

test("short runs wait twice as long each time, up to half a minute", () => {
  const backOff = new BackOff();
  const delays = Array.from({ length: 7 }, () => backOff.next(10));
  assert.deepEqual(delays, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

test("a minute's run starts over", () => {
  const backOff = new BackOff();
  backOff.next(0);
  backOff.next(0);
  assert.equal(backOff.next(60_000), 1000);
  assert.equal(backOff.next(59_999), 2000);
});
