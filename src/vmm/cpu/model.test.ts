import assert from "node:assert/strict";
import { test } from "node:test";
import { CPU_MODELS, cpuTopology, topologyProblem } from "../../base/cpu-topology.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { type CpuidEntry, guestCpuid } from "./cpuid.ts";
import { canDisable, FEATURE_REGISTERS, featureNames, modelFeatures, type NamedModel } from "./features.ts";
import { modelCpuid } from "./model.ts";

const NAMED = CPU_MODELS.filter((name): name is NamedModel => name !== "host");
const VENDORS = {
  amd: { ebx: 0x6874_7541, ecx: 0x444d_4163, edx: 0x6974_6e65 },
  intel: { ebx: 0x756e_6547, ecx: 0x6c65_746e, edx: 0x4965_6e69 },
};
type Vendor = keyof typeof VENDORS;
const seed = testSeed();

/** What KVM might report on some host that can do `model`: all else is random. */
function someHost(random: SeededRandom, vendor: Vendor, model: NamedModel): CpuidEntry[] {
  const any = (fn: number, values: Partial<CpuidEntry> = {}, index = 0, flags = 0): CpuidEntry => ({
    ...{ function: fn, index, flags },
    ...{ eax: random.u32(), ebx: random.u32(), ecx: random.u32(), edx: random.u32() },
    ...values,
  });
  const list = [
    any(0, { ...VENDORS[vendor], eax: 0x10 + random.below(0x10) }),
    any(1),
    any(2),
    ...[0, 1, 2, 3].map((i) => any(4, { eax: 0x121 + i * 0x20 }, i, 1)),
    any(6),
    any(7, {}, 0, 1),
    any(7, {}, 1, 1),
    any(0xa),
    any(0xd, { eax: 0x2e7 }, 0, 1),
    any(0xd, {}, 1, 1),
    ...[
      [2, 256, 576],
      [5, 64, 1088],
      [6, 512, 1152],
      [7, 1024, 1664],
      [9, 8, 2688],
    ].map(([i, eax, ebx]) => any(0xd, { eax: eax as number, ebx: ebx as number, ecx: 0, edx: 0 }, i, 1)),
    any(0x14),
    any(0x4000_0000),
    any(0x4000_0001, { eax: 0x0100_7efb }),
    any(0x8000_0000, { eax: 0x8000_0028 }),
    ...[1, 2, 3, 4, 5, 6, 7].map((i) => any(0x8000_0000 + i)),
    any(0x8000_0008, { eax: 0x3000 | (40 + random.below(12)) }),
    any(0x8000_000a),
    ...(vendor === "amd" ? [0, 1, 2, 3].map((i) => any(0x8000_001d, { eax: 0x121 + i * 0x20 }, i, 1)) : []),
    ...(vendor === "amd" ? [any(0x8000_001e), any(0x8000_0021), any(0x8000_0022)] : []),
  ];
  const wanted = modelFeatures(model);
  for (const [i, [leaf, register]] of FEATURE_REGISTERS.entries()) {
    const entry = list.find((e) => e.function === leaf && e.index === 0) as CpuidEntry;
    entry[register] = (entry[register] | (wanted[i] as number)) >>> 0;
  }
  return list;
}

function guest(supported: CpuidEntry[], cpu: Parameters<typeof modelCpuid>[1], index = 0, cpus = 1) {
  const topology = cpuTopology(cpus, cpu);
  return guestCpuid(modelCpuid(supported, cpu), { cpus, cpu: index, topology, tscDeadlineTimer: true });
}

function names(entries: readonly CpuidEntry[]): string[] {
  const at = (leaf: number) => entries.find((e) => e.function === leaf && e.index === 0);
  return featureNames(FEATURE_REGISTERS.map(([leaf, register]) => at(leaf)?.[register] ?? 0));
}

/** What a named model has from its host unless it is taken away. */
const CONTROLS = ["md_clear", "ibrs", "ibpb", "stibp", "flush_l1d", "ssbd", "virt_ssbd"];

/** Caches and the vendor's number of leaves are hints of the host; all else is the model's. */
const HINTS = new Set([2, 4, 0x8000_0005, 0x8000_0006, 0x8000_001d]);

for (const model of NAMED) {
  for (const vendor of ["amd", "intel"] as const) {
    test(`${model} is the same on every ${vendor} host that has it (seed ${seed})`, () => {
      const random = new SeededRandom(seed);
      let first: CpuidEntry[] | undefined;
      for (let i = 0; i < 200; i++) {
        const supported = someHost(random, vendor, model);
        const before = JSON.stringify(supported);
        const seen = guest(supported, { model, disable: CONTROLS }).filter((e) => !HINTS.has(e.function));
        assert.equal(JSON.stringify(supported), before);
        // kvmclock is bits 0 and 3.
        assert.equal(seen.find((e) => e.function === 0x4000_0001)?.eax, 0x0100_7efb);
        first ??= seen;
        assert.deepEqual(seen, first);
        const wanted = featureNames(modelFeatures(model));
        assert.deepEqual(
          names(seen).filter((name) => wanted.includes(name)),
          wanted,
        );
        for (const e of seen) {
          for (const value of [e.eax, e.ebx, e.ecx, e.edx]) assert.ok(value >= 0 && value < 2 ** 32);
        }
      }
    });

    test(`${model} is refused on a ${vendor} host that lacks any one feature, which is named (seed ${seed})`, () => {
      const random = new SeededRandom(seed);
      for (const [i, [leaf, register]] of FEATURE_REGISTERS.entries()) {
        for (let n = 0; n < 32; n++) {
          const bit = 2 ** n;
          if (((modelFeatures(model)[i] as number) & bit) === 0) continue;
          const supported = someHost(random, vendor, model);
          const entry = supported.find((e) => e.function === leaf && e.index === 0) as CpuidEntry;
          entry[register] = (entry[register] & ~bit) >>> 0;
          const [name = ""] = featureNames(FEATURE_REGISTERS.map((_, j) => (i === j ? bit : 0)));
          assert.throws(
            () => modelCpuid(supported, { model }),
            (error: Error) =>
              error.message.startsWith("cpu.model: ") && error.message.endsWith(`lacks ${name}`),
          );
          // What the guest is not to have, the host need not have.
          if (canDisable(name)) modelCpuid(supported, { model, disable: [name] });
        }
      }
    });
  }
}

test("the levels are psABI's", () => {
  const of = (model: NamedModel) => new Set(featureNames(modelFeatures(model)));
  const more = (a: NamedModel, b: NamedModel) => [...of(b)].filter((name) => !of(a).has(name)).sort();
  for (const name of "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3".split(" "))
    assert.ok(of("x86-64-v2").has(name));
  for (const name of "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave".split(" "))
    assert.ok(more("x86-64-v2", "x86-64-v3").includes(name));
  for (const name of "avx512f avx512bw avx512cd avx512dq avx512vl".split(" "))
    assert.ok(more("x86-64-v3", "x86-64-v4").includes(name));
});

test("speculation controls are the host's own, at its vendor's place, less what is taken away", () => {
  const random = new SeededRandom(seed);
  for (const vendor of ["amd", "intel"] as const) {
    for (let i = 0; i < 200; i++) {
      const model = random.pick(NAMED);
      const supported = someHost(random, vendor, model);
      const of = (entries: CpuidEntry[]) => {
        const at = (fn: number) => entries.find((e) => e.function === fn && e.index === 0) as CpuidEntry;
        return [at(7).edx, at(0x8000_0008).ebx] as const;
      };
      const [intel, amd] = of(supported);
      // Intel SDM, CPUID leaf 7 EDX; AMD APM, CPUID Fn8000_0008 EBX.
      const kept = (disabled: readonly string[]) => {
        const off = (name: string) => disabled.includes(name);
        const bit = (n: number, ...names: string[]) => (names.some(off) ? 0 : 2 ** n);
        return vendor === "intel"
          ? [
              intel &
                (bit(10, "md_clear") |
                  bit(26, "ibrs", "ibpb") |
                  bit(27, "stibp") |
                  bit(28, "flush_l1d") |
                  bit(31, "ssbd")),
              0,
            ]
          : [
              0,
              amd &
                (bit(12, "ibpb") |
                  bit(14, "ibrs") |
                  bit(15, "stibp") |
                  bit(24, "ssbd") |
                  bit(25, "virt_ssbd")),
            ];
      };
      const disable = CONTROLS.filter(() => random.below(3) === 0);
      assert.deepEqual(
        of(guest(supported, { model })),
        kept([]).map((bits) => bits >>> 0),
      );
      assert.deepEqual(
        of(guest(supported, { model, disable })),
        kept(disable).map((bits) => bits >>> 0),
      );
      const host = of(guest(supported, { disable: ["ibpb"] }));
      assert.equal(host[0] & (1 << 26), 0);
      assert.equal(host[1] & (1 << 12), 0);
    }
  }
  assert.ok(CONTROLS.every(canDisable));
});

test("XSAVE state follows the features", () => {
  const supported = someHost(new SeededRandom(1), "intel", "x86-64-v4");
  const xsave = (cpu: Parameters<typeof modelCpuid>[1]) => {
    const { eax, ecx } = guest(supported, cpu).find((e) => e.function === 0xd) as CpuidEntry;
    return [eax, ecx];
  };
  assert.deepEqual(xsave({ model: "x86-64-v2" }), [0, 0]);
  assert.deepEqual(xsave({ model: "x86-64-v3" }), [0x7, 832]);
  assert.deepEqual(xsave({ model: "x86-64-v4" }), [0xe7, 2688]);
  assert.deepEqual(xsave({ model: "x86-64-v4", disable: ["avx512f"] }), [0x7, 832]);
  assert.deepEqual(xsave({ disable: ["avx"] }), [0x203, 2696]);
  assert.deepEqual(xsave({ disable: ["xsave"] }), [0, 0]);
});

test("a feature taken away takes what needs it along, from any model", () => {
  const supported = someHost(new SeededRandom(2), "amd", "x86-64-v4");
  for (const model of CPU_MODELS) {
    const left = names(guest(supported, { model, disable: ["avx", "ssse3"] }));
    assert.deepEqual(
      left.filter((name) => /^(avx|sse4_|ssse3|fma|f16c|vaes)/.test(name)),
      [],
    );
    assert.ok(left.includes("cx16"));
  }
  assert.ok(!canDisable("sse2") && !canDisable("nonsense") && canDisable("avx2"));
});

test("every topology that fits is told alike by every leaf, and the others have a reason", () => {
  for (let sockets = 1; sockets <= 8; sockets++)
    for (let cores = 1; cores <= 8; cores++)
      for (const threads of [1, 2, 3, 4]) {
        const cpus = sockets * cores * threads;
        if (cpus > 64 || topologyProblem(cpus, { sockets, cores, threads }) !== null) continue;
        checkTopology(cpus, sockets, cores, threads);
      }
  assert.match(topologyProblem(4, { sockets: 3 }) ?? "", /equal to cpus/);
  assert.match(topologyProblem(6, { sockets: 2 }) ?? "", /cores × threads/);
  assert.match(topologyProblem(6, { threads: 3 }) ?? "", /as threads/);
  assert.deepEqual(cpuTopology(8, { threads: 2 }), { sockets: 1, cores: 4, threads: 2 });
});

function checkTopology(cpus: number, sockets: number, cores: number, threads: number): void {
  for (const vendor of ["amd", "intel"] as const) {
    const supported = someHost(new SeededRandom(3), vendor, "x86-64-v2");
    for (let cpu = 0; cpu < cpus; cpu++) {
      const socket = Math.floor(cpu / (cores * threads));
      const core = Math.floor((cpu % (cores * threads)) / threads);
      const seen = guest(supported, { model: "x86-64-v2", sockets, cores, threads }, cpu, cpus);
      const at = (fn: number, index = 0) =>
        seen.find((e) => e.function === fn && e.index === index) as CpuidEntry;
      const [smt, whole] = [at(0xb, 0), at(0xb, 1)];
      assert.deepEqual([smt.ebx, whole.ebx, smt.edx], [threads, cores * threads, cpu]);
      assert.equal(cpu >>> whole.eax, socket);
      assert.equal((cpu % 2 ** whole.eax) >>> smt.eax, core);
      assert.equal(at(1).ebx >>> 24, cpu);
      assert.equal((at(1).ebx >>> 16) & 0xff, 2 ** whole.eax);
      assert.equal((at(1).edx >>> 28) & 1, cores * threads > 1 ? 1 : 0);
      if (vendor === "intel") {
        const sharing = [0, 1, 2, 3].map((i) => ((at(4, i).eax >>> 14) & 0xfff) + 1);
        assert.equal(sharing[0], 2 ** smt.eax);
        assert.equal((at(4, 0).eax >>> 26) + 1, 2 ** (whole.eax - smt.eax));
      } else {
        assert.deepEqual(
          [at(0x8000_001e).eax, at(0x8000_001e).ebx, at(0x8000_001e).ecx],
          [cpu, core | ((threads - 1) << 8), socket],
        );
        assert.equal(at(0x8000_0008).ecx, (cores * threads - 1) | (whole.eax << 12));
        assert.equal(((at(0x8000_001d).eax >>> 14) & 0xfff) + 1, threads);
        assert.equal((at(0x8000_0001).ecx >>> 22) & 1, 1);
      }
    }
  }
}
