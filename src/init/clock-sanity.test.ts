import assert from "node:assert/strict";
import { test } from "node:test";
import { buildTimeMs, correctedTime } from "./clock-sanity.ts";

test("a clock before the image was built is set to that time, a later one is left", () => {
  assert.equal(correctedTime(1000, 5000), 5000);
  assert.equal(correctedTime(6000, 5000), null);
  assert.equal(buildTimeMs(), 0);
});
