import assert from "node:assert/strict";
import { test } from "node:test";
import { formatSizeReport, parseSizes, type SizeReport, subsystemOf, withinBudget } from "./size-report.ts";

test("objects belong to subsystems by their path", () => {
  const cases: [string, string][] = [
    ["arch/x86/kvm/svm/svm.o", "KVM"],
    ["virt/kvm/kvm_main.o", "KVM"],
    ["arch/x86/kernel/head_64.o", "x86"],
    ["drivers/net/tun.o", "drivers/net"],
    ["fs/proc/base.o", "fs/proc"],
    ["fs/namei.o", "fs"],
    ["net/ipv4/tcp.o", "net/ipv4"],
    ["mm/slub.o", "mm"],
    ["init/main.o", "init"],
  ];
  for (const [object, subsystem] of cases) assert.equal(subsystemOf(object), subsystem, object);
});

test("size's table is read: text and data count, bss does not", () => {
  const output = `   text\t   data\t    bss\t    dec\t    hex\tfilename
   1000\t     20\t    300\t   1320\t    528\tmm/slub.o
      0\t      0\t      0\t      0\t      0\tmm/empty.o
`;
  assert.deepEqual(
    [...parseSizes(output)],
    [
      ["mm/slub.o", 1020],
      ["mm/empty.o", 0],
    ],
  );
});

const report: SizeReport = {
  kernel: [{ name: "KVM", unpackedBytes: 2000, imageBytes: 500 }],
  userland: [{ name: "engine and bridge", unpackedBytes: 1000, imageBytes: 400 }],
  unpackedParts: 100,
  imageBytes: 1000,
  imageBytesMax: 1200,
  romBytes: 4096,
  romFreeBytes: 300,
  romLevel: "network",
};

test("the table shows parts, totals and what is left", () => {
  const table = formatSizeReport(report);
  assert.match(table, /KVM +2,000 +~ 500\n/);
  assert.match(table, /left of its budget +200\n/);
  assert.match(table, /free in it \(level "network"\) +300\n/);
});

test("an image over its budget is told from one at its budget", () => {
  assert.ok(withinBudget({ ...report, imageBytes: 1200 }));
  const over = { ...report, imageBytes: 1201 };
  assert.ok(!withinBudget(over));
  assert.match(formatSizeReport(over), /OVER its budget by +1\n/);
});
