import assert from "node:assert/strict";
import { test } from "node:test";
import { type CpuidEntry, guestCpuid, physicalAddressBits } from "./cpuid.ts";

function entry(fn: number, index: number, regs: Partial<CpuidEntry>): CpuidEntry {
  const flags = fn === 4 || fn === 0x8000001d ? 1 : 0;
  return { function: fn, index, flags, eax: 0, ebx: 0, ecx: 0, edx: 0, ...regs };
}

/** What KVM reports on an AMD EPYC, shortened to the leaves that matter here. */
const AMD: readonly CpuidEntry[] = [
  entry(0, 0, { eax: 0x10, ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 }),
  entry(1, 0, { eax: 0x00800f12, ebx: 0x05100800, ecx: 0x7efa3223, edx: 0x178bfbff }),
  entry(7, 0, { ebx: 0x209c01a9, ecx: 0x40000000, edx: 0x2c000000 }),
  entry(0xa, 0, {}),
  entry(0xb, 0, { edx: 5 }),
  entry(0x40000000, 0, { eax: 0x40000001, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d }),
  entry(0x40000001, 0, { eax: 0x01007efb | (1 << 15), edx: 1 }),
  entry(0x80000000, 0, { eax: 0x80000026 }),
  entry(0x80000001, 0, { ecx: 0x35c233ff, edx: 0x2fd3fbff }),
  entry(0x80000008, 0, { eax: 0x00003030, ecx: 0x7f }),
  entry(0x8000000a, 0, { eax: 1, ebx: 8 }),
  entry(0x8000001d, 0, { eax: 0x00004121 }),
  entry(0x8000001d, 1, { eax: 0x00004122 }),
  entry(0x8000001d, 2, { eax: 0x00004143 }),
  entry(0x8000001d, 3, { eax: 0x0001c163 }),
  entry(0x8000001d, 4, {}),
  entry(0x8000001e, 0, {}),
  entry(0x80000022, 0, { eax: 1, ebx: 6 }),
  entry(0x80000026, 0, { eax: 1, ebx: 2, ecx: 0x100 }),
];

/** The same for an Intel server. */
const INTEL: readonly CpuidEntry[] = [
  entry(0, 0, { eax: 0x1f, ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 }),
  entry(1, 0, {
    eax: 0x000606a6,
    ebx: 0x2a400800,
    ecx: 0xfffa3227 | (1 << 5) | (1 << 15),
    edx: 0x1f8bfbff | (1 << 21),
  }),
  entry(4, 0, { eax: 0xfc004121, ebx: 0x02c0003f, ecx: 0x3f }),
  entry(4, 1, { eax: 0xfc004122, ebx: 0x01c0003f, ecx: 0x3f }),
  entry(4, 2, { eax: 0xfc004143, ebx: 0x04c0003f, ecx: 0x3ff }),
  entry(4, 3, { eax: 0xfc1fc163, ebx: 0x02c0003f, ecx: 0xdfff }),
  entry(4, 4, {}),
  entry(7, 0, { ebx: 0xf1bf07ab | (1 << 2), ecx: 0x5f5efea | (1 << 30), edx: 0xa4004510 }),
  entry(0xa, 0, { eax: 0x08300805, ecx: 0xf, edx: 0x8604 }),
  entry(0xb, 0, { edx: 42 }),
  entry(0x1f, 0, { edx: 42 }),
  entry(0x40000000, 0, { eax: 0x40000001, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d }),
  entry(0x40000001, 0, { eax: 0x01007efb }),
  entry(0x80000000, 0, { eax: 0x80000008 }),
  entry(0x80000008, 0, { eax: 0x302e39 }),
];

function lookup(entries: readonly CpuidEntry[], fn: number, index = 0): CpuidEntry {
  const found = entries.filter((e) => e.function === fn && (e.index === index || (e.flags & 1) === 0));
  assert.equal(found.length, 1, `one entry for leaf ${fn.toString(16)}:${index}`);
  return found[0] as CpuidEntry;
}

function bit(value: number, n: number): number {
  return Math.floor(value / 2 ** n) % 2;
}

for (const [name, supported] of [
  ["AMD", AMD],
  ["Intel", INTEL],
] as const) {
  test(`${name}: every leaf that names a CPU agrees, as Linux checks it, for 1 to 64 CPUs`, () => {
    for (let cpus = 1; cpus <= 64; cpus++) {
      const shifts = new Set<number>();
      for (let cpu = 0; cpu < cpus; cpu++) {
        const guest = guestCpuid(supported, { cpus, cpu, tscDeadlineTimer: true });
        assert.equal(lookup(guest, 1).ebx >>> 24, cpu);
        assert.ok(((lookup(guest, 1).ebx >>> 16) & 0xff) >= cpus);
        assert.equal(bit(lookup(guest, 1).edx, 28), cpus > 1 ? 1 : 0);
        for (const leaf of name === "Intel" ? [0xb, 0x1f] : [0xb]) {
          const [thread, core, end] = [0, 1, 2].map((i) => lookup(guest, leaf, i)) as [
            CpuidEntry,
            CpuidEntry,
            CpuidEntry,
          ];
          assert.deepEqual([thread.edx, core.edx, end.edx], [cpu, cpu, cpu]);
          assert.deepEqual([thread.eax, thread.ebx, thread.ecx], [0, 1, 0x100]);
          assert.deepEqual([core.ebx, core.ecx, end.ebx], [cpus, 0x201, 0]);
          assert.ok(2 ** core.eax >= cpus && (cpus === 1 || 2 ** (core.eax - 1) < cpus));
          shifts.add(core.eax);
        }
        if (name === "AMD") {
          const sizes = lookup(guest, 0x80000008).ecx;
          assert.equal((sizes & 0xff) + 1, cpus);
          shifts.add((sizes >>> 12) & 0xf);
          const topology = lookup(guest, 0x8000001e);
          assert.deepEqual([topology.eax, topology.ebx, topology.ecx], [cpu, cpu, 0]);
          assert.deepEqual(
            [0, 1, 2, 3].map((i) => ((lookup(guest, 0x8000001d, i).eax >>> 14) & 0xfff) + 1),
            [1, 1, 1, cpus],
          );
          assert.equal(bit(lookup(guest, 0x80000001).ecx, 1), cpus > 1 ? 1 : 0);
          assert.ok(!guest.some((e) => e.function === 0x80000026));
        } else {
          for (let i = 0; i < 4; i++) assert.ok((lookup(guest, 4, i).eax >>> 26) + 1 >= cpus);
          assert.equal((lookup(guest, 4, 0).eax >>> 14) & 0xfff, 0);
          assert.equal(lookup(guest, 4, 4).eax, 0);
        }
      }
      assert.equal(shifts.size, 1, `one width of the core id for ${cpus} CPUs`);
    }
  });

  test(`${name}: no nested virtualization, no counters, no enclaves; hypervisor, x2APIC and KVM's features`, () => {
    const guest = guestCpuid(supported, { cpus: 2, cpu: 1, tscDeadlineTimer: true });
    const features = lookup(guest, 1);
    assert.equal(bit(features.ecx, 31), 1);
    assert.equal(bit(features.ecx, 21), 1);
    assert.equal(bit(features.ecx, 24), 1);
    assert.equal(bit(features.ecx, 5), 0);
    assert.equal(bit(features.ecx, 15), 0);
    assert.equal(bit(features.edx, 21), 0);
    assert.equal(bit(lookup(guest, 7).ebx, 2), 0);
    assert.deepEqual(lookup(guest, 0xa), entry(0xa, 0, {}));
    assert.equal(lookup(guest, 0x40000000).eax, 0x40000001);
    assert.equal(lookup(guest, 0x40000001).eax, 0x01007efb);
    if (name === "AMD") {
      for (const n of [2, 23, 24, 28]) assert.equal(bit(lookup(guest, 0x80000001).ecx, n), 0);
      assert.equal(bit(lookup(guest, 0x80000001).ecx, 22), 1);
      assert.equal(bit(lookup(guest, 7).edx, 29), 0);
      assert.equal(lookup(guest, 0x8000000a).eax, 0);
      assert.equal(lookup(guest, 0x80000022).eax, 0);
    }
    for (const e of guest) {
      for (const value of [e.eax, e.ebx, e.ecx, e.edx])
        assert.ok(Number.isInteger(value) && value >= 0 && value < 2 ** 32);
    }
  });
}

test("the input is not changed, and without KVM's deadline timer the bit is off", () => {
  const before = JSON.stringify(INTEL);
  const guest = guestCpuid(INTEL, { cpus: 4, cpu: 3, tscDeadlineTimer: false });
  assert.equal(JSON.stringify(INTEL), before);
  assert.equal(bit(lookup(guest, 1).ecx, 24), 0);
});

test("physical address bits are the CPU's, limited to what a guest may use", () => {
  assert.equal(physicalAddressBits(AMD), 48);
  assert.equal(physicalAddressBits(INTEL), 48);
  assert.equal(physicalAddressBits([]), 36);
});

test("any list is taken: nothing but the signature is added to an empty one", () => {
  assert.deepEqual(
    guestCpuid([], { cpus: 1, cpu: 0, tscDeadlineTimer: true }).map((e) => e.function),
    [0x40000000, 0x40000001],
  );
});
