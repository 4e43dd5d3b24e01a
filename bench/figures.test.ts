import assert from "node:assert/strict";
import { test } from "node:test";
import { partNames } from "./archive.ts";
import { readResults, table, timesAsGood } from "./figures.ts";
import { measures, parts } from "./measures.ts";

const printed = [
  "noise",
  "RESULT thimble start 3400\r",
  "RESULT thimble start 9000\r",
  "RESULT thimble start 3200\r",
  "RESULT qemu-q35 start 6400\r",
  "RESULT qemu-microvm start 3200",
  "RESULT thimble start-uefi 8000",
  "RESULT qemu-q35 start-uefi 10000",
  "RESULT thimble disk-read-4k-32-cpu 20000",
].join("\n");

test("of several rounds the best counts; of a peer that has no such thing the figure is null and not missing", () => {
  const { results, missing } = readResults(printed, ["start"]);
  assert.deepEqual(missing, []);
  assert.deepEqual(
    results.map(({ name, thimble, peers }) => [name, thimble, peers["qemu-q35"], peers["qemu-microvm"]]),
    [
      ["start", 3200, 6400, 3200],
      ["start-uefi", 8000, 10000, null],
    ],
  );
  assert.match(table(results), /^start to user space +ms +3200 +6400 +3200 +2\.00 × +1\.00 ×$/m);
});

test("values are brought to their unit, and a ratio above 1 is better whichever way a unit counts", () => {
  const [result] = readResults("RESULT thimble vhost-send 1048576\nRESULT qemu-q35 vhost-send 524288", [
    "network",
  ]).results;
  assert.ok(result !== undefined);
  assert.equal(result.thimble, 1024);
  assert.equal(timesAsGood(result, "qemu-q35"), 2);
  assert.equal(timesAsGood(result, "qemu-microvm"), null);
  // 20 s for a million operations.
  const cpu = readResults(printed, ["disk"]).results.find(({ name }) => name === "disk-read-4k-32-cpu");
  assert.equal(cpu?.thimble, 2);
});

test("what was to be measured and was not is named, as is what failed", () => {
  const { missing } = readResults("RESULT thimble exits-port 100\nRESULT qemu-q35 failed exits-mmio", [
    "exits",
  ]);
  assert.ok(missing.includes("qemu-q35: exits-port"));
  assert.ok(missing.includes("thimble: exits-mmio"));
  assert.ok(missing.includes("qemu-q35: exits-mmio failed"));
});

test("every measure belongs to a part that exists, every part has a measure, keys are unique", () => {
  assert.deepEqual([...parts].sort(), partNames());
  assert.equal(new Set(measures.map(({ key }) => key)).size, measures.length);
});
