/** The pure parts of VM management. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB } from "../../base/addresses.ts";
import { isAuthorized } from "../auth/token.ts";
import {
  checkDisks,
  checkMemory,
  HOST_RESERVE_BYTES,
  type RunningVm,
  VMM_OVERHEAD_BYTES,
} from "./admission.ts";
import { chooseMac } from "./mac.ts";
import type { VmSpec } from "./spec.ts";
import { cpuTimeMs, ownResidentBytes, parseSmaps, startTicks } from "./statistics.ts";

function spec(change: Partial<VmSpec> = {}): VmSpec {
  return { name: "x", cpus: 1, memoryBytes: GiB, boot: { kernel: "k" }, disks: [], networks: [], ...change };
}

test("memory that running guests have not touched yet is promised", () => {
  const needed = GiB + VMM_OVERHEAD_BYTES + HOST_RESERVE_BYTES;
  checkMemory(spec(), needed, []);
  assert.throws(() => checkMemory(spec(), needed - 1, []), { status: 409, field: "memoryBytes" });
  const half: RunningVm = { id: "vm-1", spec: spec(), residentBytes: GiB / 2 };
  const promised = GiB / 2 + VMM_OVERHEAD_BYTES;
  checkMemory(spec(), needed + promised, [half]);
  assert.throws(() => checkMemory(spec(), needed + promised - 1, [half]), /needs 1032 MiB/);
});

test("only disks that all open read-only are shared", () => {
  const vm = (readOnly: boolean) => spec({ disks: [{ image: "d", readOnly }] });
  const running = (readOnly: boolean): RunningVm[] => [{ id: "vm-1", spec: vm(readOnly), residentBytes: 0 }];
  checkDisks(vm(true), running(true));
  for (const [mine, theirs] of [
    [true, false],
    [false, true],
    [false, false],
  ] as const) {
    assert.throws(() => checkDisks(vm(mine), running(theirs)), {
      code: "image_in_use",
      field: "disks[0].image",
    });
  }
  // A running VM's kernel must not be written to as another's disk.
  assert.throws(() => checkDisks(spec({ disks: [{ image: "k" }] }), running(true)), {
    field: "disks[0].image",
  });
});

test("MAC addresses are the same for the same VM, stations' and local, and never taken ones", () => {
  const taken = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const mac = chooseMac("vm-00000001", i, taken);
    assert.match(mac, /^52:54(:[0-9a-f]{2}){4}$/);
    assert.ok(!taken.has(mac));
    assert.equal(chooseMac("vm-00000001", i, new Set()), mac);
    taken.add(mac);
  }
  const first = chooseMac("vm-00000002", 0, new Set());
  assert.notEqual(chooseMac("vm-00000002", 0, new Set([first])), first);
});

test("the guest's memory is told apart from the VMM's own", () => {
  const mapping = (name: string, rss: number, pss: number) =>
    `7f00-7f01 rw-p 00000000 00:00 0   ${name}\nSize: 999 kB\nRss: ${rss} kB\nPss: ${pss} kB\nPss_Dirty: 7 kB\n` +
    "KSM: 12 kB\nAnonHugePages: 2048 kB\n";
  const text =
    mapping("[anon:guest-ram]", 4000, 2000) +
    mapping("/thimble", 600, 100) +
    mapping("[anon:guest-ram-video]", 20, 20) +
    mapping("[heap]", 300, 300);
  assert.deepEqual(parseSmaps(text), {
    pssBytes: 2420 * 1024,
    guestResidentBytes: 4020 * 1024,
    guestHugeBytes: 4096 * 1024,
    guestMergedBytes: 24 * 1024,
    overheadBytes: 400 * 1024,
  });
  const none = {
    pssBytes: 0,
    guestResidentBytes: 0,
    guestHugeBytes: 0,
    guestMergedBytes: 0,
    overheadBytes: 0,
  };
  assert.deepEqual(parseSmaps(""), none);
});

test("pages that are merged with others' are not a VM's own", () => {
  const texts: Record<string, string> = {
    "/proc/7/status": "VmRSS:\t 900 kB\nRssAnon:\t     800 kB\nRssShmem:\t 50 kB\n",
    "/proc/7/ksm_merging_pages": "3\n",
  };
  const readText = (path: string) => {
    const text = texts[path];
    if (text === undefined) throw new Error("no such file");
    return text;
  };
  assert.equal(ownResidentBytes({ readText }, 7), 800 * 1024 - 3 * 4096);
  delete texts["/proc/7/ksm_merging_pages"];
  assert.equal(ownResidentBytes({ readText }, 7), 800 * 1024);
  assert.equal(ownResidentBytes({ readText }, 8), 0);
});

test("a process's times are found behind any name", () => {
  const fields = Array.from({ length: 50 }, (_, i) => i + 3).join(" ");
  const files = { readText: () => `12 (a) b (c) ${fields}` };
  assert.equal(cpuTimeMs(files, 12), (14 + 15) * 10);
  assert.equal(startTicks(files, 12), 22);
});

test("only the token itself authorizes", () => {
  const token = "ab".repeat(32);
  assert.ok(isAuthorized(`Bearer ${token}`, token));
  assert.ok(isAuthorized(`bearer  ${token}`, token));
  for (const header of [
    null,
    "",
    "Bearer",
    "Bearer ",
    token,
    `Basic ${token}`,
    `Bearer ${token}x`,
    `Bearer ${token.slice(1)}`,
  ]) {
    assert.ok(!isAuthorized(header, token), String(header));
  }
});
