import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger, limited } from "./log.ts";

test("lines carry the prefix, and only the levels asked for pass", () => {
  const lines: [string, number][] = [];
  const log = createLogger("vmm", "warn", (line, level) => lines.push([line, level]));
  log.error("a");
  log.warn("b");
  log.info("c");
  log.debug("d");
  assert.deepEqual(lines, [
    ["vmm: a", 0],
    ["vmm: b", 1],
  ]);
});

test("a limited logger ends with one line that says so", () => {
  const lines: string[] = [];
  const log = limited((line) => lines.push(line), 2);
  for (const line of ["a", "b", "c", "d"]) log(line);
  assert.deepEqual(lines, ["a", "b", "2 messages of this kind are enough: more are dropped"]);
});
