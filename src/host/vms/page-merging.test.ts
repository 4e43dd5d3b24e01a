import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { nodePlatform } from "../testing/test-platform.ts";
import type { RunningVm } from "./admission.ts";
import { PageMerging } from "./page-merging.ts";

function vm(mergeable?: boolean): RunningVm {
  const spec = { name: "x", cpus: 1, memoryBytes: 1, boot: { kernel: "k" }, disks: [], networks: [] };
  return {
    id: "vm-1",
    spec: { ...spec, ...(mergeable === undefined ? {} : { memory: { mergeable } }) },
    residentBytes: 0,
  };
}

test("page merging runs while a VM wants it", () => {
  const directory = mkdtempSync(join(tmpdir(), "ksm-"));
  try {
    for (const name of ["run", "advisor_mode"]) writeFileSync(join(directory, name), "?");
    const read = (name: string) => readFileSync(join(directory, name), "utf8");
    const merging = new PageMerging(nodePlatform(), directory);
    // An agent that takes over sets it as it is to be.
    merging.update([]);
    assert.equal(read("run"), "0");
    merging.update([vm(), vm(false)]);
    assert.equal(read("run"), "0");
    merging.update([vm(), vm(true)]);
    assert.deepEqual([read("run"), read("advisor_mode")], ["1", "scan-time"]);
    merging.update([vm()]);
    assert.equal(read("run"), "0");
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a host without page merging is no error", () => {
  new PageMerging(nodePlatform(), "/nowhere/ksm").update([vm(true)]);
});
