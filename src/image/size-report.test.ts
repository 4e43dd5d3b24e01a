import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ThimbleError } from "../base/errors.ts";
import { SeededRandom, testSeed } from "../base/random.ts";
import { lastRecord, recordOf, writeRecord } from "./size-record.ts";
import {
  formatSizeReport,
  parseSizes,
  type SizeReport,
  shareOut,
  subsystemOf,
  withinBudget,
} from "./size-report.ts";

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

test("shares are whole and add up to the total (generated)", () => {
  const random = new SeededRandom(testSeed());
  for (let round = 0; round < 200; round++) {
    const parts = new Map(
      Array.from({ length: 1 + random.below(40) }, (_, i) => [`part ${i}`, 1 + random.below(1e6)]),
    );
    const total = random.below(3e6);
    const lines = shareOut(parts, total);
    const sum = lines.reduce((all, line) => all + line.imageBytes, 0);
    assert.equal(sum, total, `seed ${random.seed}, round ${round}`);
    const whole = [...parts.values()].reduce((a, b) => a + b, 0);
    for (const { name, unpackedBytes, imageBytes } of lines) {
      assert.equal(unpackedBytes, parts.get(name));
      assert.ok(Math.abs(imageBytes - (unpackedBytes / whole) * total) < 1);
    }
  }
});

test("the table says what changed since the last release, and what is gone", () => {
  const before = {
    version: "0.0.9",
    imageBytes: 1100,
    lines: { KVM: 700, "engine and bridge": 400, fonts: 50 },
  };
  const table = formatSizeReport(report, before);
  assert.match(table, /since 0\.0\.9\n/);
  assert.match(table, /KVM +2,000 +~ 500 +-200\n/);
  assert.match(table, /engine and bridge +1,000 +~ 400\n/);
  assert.match(table, /fonts +gone +-50\n/);
  assert.match(table, /image +1,000 +-100\n/);
});

test("a release is remembered once, and the last one is compared with", async () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-size-"));
  try {
    const file = join(directory, "sizes.json");
    assert.equal(await lastRecord(file), undefined);
    await writeRecord(recordOf("1.0.0", report), file);
    await writeRecord(recordOf("1.1.0", { ...report, imageBytes: 7 }), file);
    await writeRecord(recordOf("1.1.0", { ...report, imageBytes: 8 }), file);
    const lines = { KVM: 500, "engine and bridge": 400 };
    assert.deepEqual(await lastRecord(file), { version: "1.1.0", imageBytes: 8, lines });
    writeFileSync(file, "[{");
    const bad = (error: unknown) => error instanceof ThimbleError && error.code === "bad_size_record";
    await assert.rejects(lastRecord(file), bad);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
