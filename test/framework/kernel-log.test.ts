import assert from "node:assert/strict";
import { test } from "node:test";
import { unexpectedComplaints, usableMemoryBytes } from "./kernel-log.ts";

test("only warnings and worse that are not expected remain", () => {
  const log = [
    "<6>[    0.1] pci 0000:00:01.0: all is well",
    "<4>[    0.2] Speculative Return Stack Overflow: IBPB-extending microcode not applied!",
    "<3>[    0.3] virtio_blk virtio0: something is wrong",
    "<12>[    1.0] init: a program's warning",
    "not a log line",
  ].join("\n");
  assert.deepEqual(
    unexpectedComplaints(log).map((line) => line.slice(0, 4)),
    ["<3>[", "<12>"],
  );
});

test("usable memory is the sum of its ranges", () => {
  const log = [
    "[0] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
    "[0] BIOS-e820: [mem 0x000000000009fc00-0x00000000000fffff] reserved",
    "[0] BIOS-e820: [mem 0x0000000000100000-0x0000000007ffffff] usable",
  ].join("\n");
  assert.equal(usableMemoryBytes(log), 0x9fc00 + 0x7f00000);
});
