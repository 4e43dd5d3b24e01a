import assert from "node:assert/strict";
import { test } from "node:test";
import { complaintsOnlyIn, unexpectedComplaints, usableMemoryBytes } from "./kernel-log.ts";

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

test("complaints of one log that the other does not have are found, whatever their numbers", () => {
  const ours = [
    "<6>[    0.1] ACPI: PM-Timer IO Port: 0x608",
    "<6>[    0.2] pci 0000:00:03.0: BAR 4 [mem 0xc0000000-0xc0003fff]: can't claim",
    "<6>[    0.3] DMI not present or invalid.",
    "<4>[    0.4] something else",
    "<6>[    0.5] e1000: failed to find a cable",
  ];
  const theirs = ["<6>[    0.9] pci 0000:00:1f.3: BAR 0 [mem 0xfebff000-0xfebfffff]: can't claim"];
  assert.deepEqual(complaintsOnlyIn(ours.join("\n"), theirs.join("\n")), [ours[2], ours[3]]);
});
