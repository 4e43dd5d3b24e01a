import assert from "node:assert/strict";
import { test } from "node:test";
import { readCounts } from "./test-stage.ts";

test("counts come from the closing lines; cancelled tests count as failed", () => {
  const tap =
    "TAP version 13\nok 1 - # pass 99\n1..3\n# tests 4\n# pass 2\n# fail 1\n# cancelled 1\n# skipped 0\n";
  assert.deepEqual(readCounts(tap), { passed: 2, failed: 2 });
});

test("a report cut short counts nothing", () => {
  assert.deepEqual(readCounts("TAP version 13\nok 1 - something\n"), { passed: 0, failed: 0 });
});
