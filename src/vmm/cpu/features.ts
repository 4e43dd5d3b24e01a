/**
 * CPU features by name, and what the named models have of them. Names are those of Linux's /proc/cpuinfo.
 *
 * Bits: Intel SDM vol. 2A "CPUID", AMD APM vol. 3 appendix E. Levels: x86-64 psABI, section 3.1.1, table "Micro-
 * Architecture Levels". A level there is about user programs; each model also has what kernels of its time rely on.
 */
import { Leaf } from "./cpuid-bits.ts";

/** The registers that hold features, as places in a FeatureSet. */
export const FEATURE_REGISTERS = [
  [Leaf.Features, "ecx"],
  [Leaf.Features, "edx"],
  [Leaf.ExtendedFeatures, "ebx"],
  [Leaf.ExtendedFeatures, "ecx"],
  [Leaf.AmdFeatures, "ecx"],
  [Leaf.AmdFeatures, "edx"],
  [Leaf.ExtendedFeatures, "edx"],
  [Leaf.AddressSizes, "ebx"],
] as const;
/** Where Intel's and AMD's speculation controls are among them. */
export const INTEL_CONTROLS = 6;
export const AMD_CONTROLS = 7;

/** One unsigned mask for each of FEATURE_REGISTERS. */
export type FeatureSet = readonly number[];

/** "name:bit …" for each of FEATURE_REGISTERS. */
const NAMES = [
  "pni:0 pclmulqdq:1 ssse3:9 fma:12 cx16:13 pcid:17 sse4_1:19 sse4_2:20 movbe:22 popcnt:23 aes:25 xsave:26 avx:28 " +
    "f16c:29 rdrand:30",
  "fpu:0 vme:1 de:2 pse:3 tsc:4 msr:5 pae:6 mce:7 cx8:8 apic:9 sep:11 mtrr:12 pge:13 mca:14 cmov:15 pat:16 pse36:17 " +
    "clflush:19 mmx:23 fxsr:24 sse:25 sse2:26",
  "fsgsbase:0 bmi1:3 hle:4 avx2:5 smep:7 bmi2:8 erms:9 invpcid:10 rtm:11 mpx:14 avx512f:16 avx512dq:17 rdseed:18 " +
    "adx:19 smap:20 avx512ifma:21 clflushopt:23 clwb:24 avx512cd:28 sha_ni:29 avx512bw:30 avx512vl:31",
  "avx512vbmi:1 umip:2 pku:3 waitpkg:5 avx512_vbmi2:6 gfni:8 vaes:9 vpclmulqdq:10 avx512_vnni:11 avx512_bitalg:12 " +
    "avx512_vpopcntdq:14 la57:16 rdpid:22 movdiri:27 movdir64b:28",
  "lahf_lm:0 cr8_legacy:4 abm:5 sse4a:6 misalignsse:7 3dnowprefetch:8 xop:11 fma4:16 tbm:21",
  "syscall:11 nx:20 mmxext:22 fxsr_opt:25 pdpe1gb:26 rdtscp:27 lm:29",
  // Controls alone. One bit of Intel's is two of AMD's; KVM shows both vendors' on either.
  "md_clear:10 ibrs:26 ibpb:26 stibp:27 flush_l1d:28 ssbd:31",
  "ibpb:12 ibrs:14 stibp:15 ssbd:24 virt_ssbd:25",
].map((line) =>
  line.split(" ").map((item): [string, number] => {
    const [name = "", bit] = item.split(":");
    return [name, 2 ** Number(bit)];
  }),
);

/** psABI's baseline, and what a kernel for x86-64 expects of every CPU; RDTSCP came before v2 everywhere. */
const BASELINE =
  "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm rdtscp";

/** psABI levels; beyond them in v3 and v4 what every server CPU of the level has and systems gain much from. */
const MODELS = {
  "x86-64-v2": `${BASELINE} cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3`,
  get "x86-64-v3"() {
    return `${this["x86-64-v2"]} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave aes pclmulqdq rdrand fsgsbase smep`;
  },
  get "x86-64-v4"() {
    return `${this["x86-64-v3"]} avx512f avx512bw avx512cd avx512dq avx512vl adx smap rdseed clflushopt`;
  },
};
export type NamedModel = keyof typeof MODELS;

/** Every bit that has a name in one of FEATURE_REGISTERS. */
export function namedBits(register: number): number {
  return (NAMES[register] ?? []).reduce((all, [, bit]) => (all | bit) >>> 0, 0);
}

/** Without the first, the others do not work (Intel SDM vol. 1, "Detection of AVX Instructions" and following). */
const NEEDED_BY: readonly (readonly [string, RegExp])[] = [
  ["xsave", /^(avx|mpx|pku)$/],
  ["avx", /^(avx2|avx512f|fma|fma4|f16c|xop|vaes|vpclmulqdq)$/],
  ["avx2", /^avx512f$/],
  ["avx512f", /^avx512./],
  ["pcid", /^invpcid$/],
  ["pni", /^ssse3$/],
  ["ssse3", /^sse4_1$/],
  ["sse4_1", /^sse4_2$/],
  ["sse4_2", /^avx$/],
  ["aes", /^vaes$/],
  ["pclmulqdq", /^vpclmulqdq$/],
];

const baseline = new Set(BASELINE.split(" "));

/** Whether a feature of this name can be taken from a guest: known, and not part of every x86-64 CPU. */
export function canDisable(name: string): boolean {
  return !baseline.has(name) && NAMES.some((names) => names.some(([known]) => known === name));
}

/** The features of a named model. */
export function modelFeatures(model: NamedModel): FeatureSet {
  return featureSet(new Set(MODELS[model].split(" ")));
}

/** The named features and all that need one of them. */
export function withDependents(names: readonly string[]): FeatureSet {
  const all = new Set(names);
  // A Set's iteration reaches what is added on the way.
  for (const name of all) {
    for (const [needed, pattern] of NEEDED_BY) {
      if (needed !== name) continue;
      for (const [other] of NAMES.flat()) if (pattern.test(other)) all.add(other);
    }
  }
  return featureSet(all);
}

/** Names of the features in a set. */
export function featureNames(set: FeatureSet): string[] {
  return NAMES.flatMap((names, i) =>
    names.filter(([, bit]) => ((set[i] ?? 0) & bit) !== 0).map(([name]) => name),
  );
}

function featureSet(names: ReadonlySet<string>): FeatureSet {
  return NAMES.map((known) =>
    known.reduce((all, [name, bit]) => (names.has(name) ? (all | bit) >>> 0 : all), 0),
  );
}
