import assert from "node:assert/strict";
import { test } from "node:test";
import { ratio, readFigures, table } from "./figures.ts";

const printed = [
  "noise",
  "RESULT thimble start-ms 3000\r",
  "RESULT thimble start-ms 9000\r",
  "RESULT thimble start-ms 3200\r",
  "RESULT qemu-q35 start-ms 6400\r",
  "RESULT qemu-microvm failed io\r",
].join("\n");

test("figures are medians, ratios are Thimble's multiple of the peer's", () => {
  const figures = readFigures(printed);
  assert.equal(figures["start-ms"]?.thimble, 3200);
  assert.equal(ratio(figures, "start-ms", "qemu-q35"), 0.5);
});

test("what was not measured stays empty", () => {
  const figures = readFigures(printed);
  assert.equal(ratio(figures, "start-ms", "qemu-microvm"), undefined);
  assert.match(table(figures), /start to guest user space\s+ms\s+3200\s+-\s+6400\s+-\s+0\.50 ×\s+lower/);
});
