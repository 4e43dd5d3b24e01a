/**
 * From what this host supports to what a VM's CPU model has, before guestCpuid makes each CPU's list of it.
 *
 * `host` is what there is. A named model is the same on every host of a vendor, so that a guest can move: of the host's
 * list only what the model has stays, and the rest is fixed. The vendor stays the host's, as AMD's and Intel's CPUs
 * differ in instructions that guests choose by it (SYSCALL in compatibility mode, VMCALL or VMMCALL, MSRs). So do the
 * caches' sizes, which are hints, and the places of AVX-512 state in the XSAVE area, which vendors chose differently.
 * KVM's paravirtual features are those of the host's kernel, which comes with this program.
 * Speculation controls are those of the host that have a name (docs/decisions/0011): protection goes before mobility,
 * and `disable` takes away what not every host of a pool has. Left out although useful, as hosts differ: invariant TSC
 * (kvmclock keeps time), and bits that say a CPU needs no protection; a guest without them is careful.
 */
import { ThimbleError } from "../../base/errors.ts";
import type { CpuConfig } from "../config.ts";
import { type CpuidEntry, find, isAmd } from "./cpuid.ts";
import { FLAG_INDEX, Leaf } from "./cpuid-bits.ts";
import {
  AMD_CONTROLS,
  FEATURE_REGISTERS,
  type FeatureSet,
  featureNames,
  INTEL_CONTROLS,
  modelFeatures,
  type NamedModel,
  namedBits,
  withDependents,
} from "./features.ts";

/** Family, model and stepping (leaf 1 EAX) of a named model: the first Zen; Haswell, whose successors all do as much. */
const SIGNATURE = { amd: 0x0080_0f12, intel: 0x0003_06c3 } as const;
/** CLFLUSH works on 8 units of 8 bytes (leaf 1 EBX 15:8). */
const CLFLUSH_SIZE = 8 << 8;
/** Leaf 6 EAX: the APIC timer runs always; KVM's does. */
const ALWAYS_RUNNING_TIMER = 1 << 2;
/** Address bits of a named model: 1 TiB of physical ones is more than a VM may have; 4-level page tables. */
const PHYSICAL_BITS = 40;
const ADDRESS_SIZES = PHYSICAL_BITS | (48 << 8);
/** AMD repeats these bits of leaf 1 EDX in leaf 0x80000001 EDX. */
const AMD_REPEATED = 0x0183_f3ff;
/** AMD: leaves 0x8000001D and 0x8000001E are there. They are made here, so no CPU needs to have it. */
const TOPOLOGY_EXTENSIONS = 1 << 22;
/** Highest leaves of named models; XSAVE has the last of the basic ones. */
const BASIC_LAST = Leaf.Xsave;
const EXTENDED_LAST = { amd: Leaf.AmdTopology, intel: Leaf.AddressSizes } as const;
/** Components of the XSAVE area (Intel SDM vol. 1, "Enabling the XSAVE Feature Set") by the feature that has them. */
const XSAVE_LEGACY = 0x3;
const XSAVE_BY_FEATURE: readonly (readonly [string, number])[] = [
  ["avx", 0x4],
  ["mpx", 0x18],
  ["avx512f", 0xe0],
  ["pku", 0x200],
];
/** The legacy region and the header, in bytes. */
const XSAVE_HEADER_END = 576;

/**
 * The list that takes the place of KVM_GET_SUPPORTED_CPUID's. The input is not changed. Throws
 * ThimbleError("bad_config") naming the field and the features when this host cannot provide the model.
 */
export function modelCpuid(supported: readonly CpuidEntry[], cpu: CpuConfig | undefined): CpuidEntry[] {
  const { model = "host", disable = [] } = cpu ?? {};
  const off = withDependents(disable);
  const entries = model === "host" ? supported.map((e) => ({ ...e })) : namedModel(supported, model, off);
  const amd = isAmd(supported);
  for (const [i, [leaf, register]] of FEATURE_REGISTERS.entries()) {
    const entry = find(entries, leaf);
    if (entry) entry[register] = (entry[register] & ~(off[i] ?? 0)) >>> 0;
    // AMD's second copy.
    if (entry && leaf === Leaf.AmdFeatures && register === "edx") {
      entry.edx = (entry.edx & ~((off[1] ?? 0) & AMD_REPEATED)) >>> 0;
    }
  }
  if (disable.length > 0 || model !== "host") limitXsave(entries, off, model === "host");
  // Threads show in leaf 0x8000001E alone, which guests read when this bit says so.
  if (amd && (model !== "host" || (cpu?.threads ?? 1) > 1)) addTopologyExtensions(entries);
  return entries;
}

/** Names of the features that a list lacks of a set. */
function missingFeatures(supported: readonly CpuidEntry[], wanted: FeatureSet): string[] {
  return featureNames(
    FEATURE_REGISTERS.map(
      ([leaf, register], i) => (wanted[i] ?? 0) & ~(find(supported, leaf)?.[register] ?? 0),
    ),
  );
}

function namedModel(supported: readonly CpuidEntry[], model: NamedModel, off: FeatureSet): CpuidEntry[] {
  const wanted = modelFeatures(model).map((bits, i) => (bits & ~(off[i] ?? 0)) >>> 0);
  const missing = missingFeatures(supported, wanted);
  const hostBits = (find(supported, Leaf.AddressSizes)?.eax ?? 0) & 0xff;
  if (hostBits < PHYSICAL_BITS) missing.push(`${PHYSICAL_BITS} physical address bits`);
  if (missing.length > 0) {
    throw new ThimbleError(
      "bad_config",
      `cpu.model: this host cannot provide ${model}: its CPU or its KVM lacks ${missing.join(", ")}`,
    );
  }
  const amd = isAmd(supported);
  const vendor = amd ? "amd" : "intel";
  const [ecx1, edx1 = 0, ebx7, ecx7, ecxAmd, edxAmd = 0] = wanted;
  const fixed = (leaf: number, values: Partial<CpuidEntry> = {}): CpuidEntry => {
    const flags = leaf === Leaf.ExtendedFeatures ? FLAG_INDEX : 0;
    return { function: leaf, index: 0, flags, eax: 0, ebx: 0, ecx: 0, edx: 0, ...values };
  };
  const host = (...leaves: number[]) =>
    supported.filter((e) => leaves.includes(e.function)).map((e) => ({ ...e }));
  const names = brandString(`Thimble ${model}`);
  return [
    ...host(Leaf.Vendor).map((e) => ({ ...e, eax: BASIC_LAST })),
    fixed(Leaf.Features, { eax: SIGNATURE[vendor], ebx: CLFLUSH_SIZE, ecx: ecx1 ?? 0, edx: edx1 }),
    ...(amd ? [] : host(Leaf.CacheDescriptors, Leaf.CacheParameters)),
    fixed(Leaf.ThermalPower, { eax: ALWAYS_RUNNING_TIMER }),
    fixed(Leaf.ExtendedFeatures, {
      ebx: ebx7 ?? 0,
      ecx: ecx7 ?? 0,
      edx: amd ? 0 : controls(supported, INTEL_CONTROLS),
    }),
    ...host(Leaf.Xsave, Leaf.HypervisorFeatures),
    fixed(Leaf.ExtendedMaximum, { ...vendorOf(supported, amd), eax: EXTENDED_LAST[vendor] }),
    fixed(Leaf.AmdFeatures, {
      ecx: ecxAmd ?? 0,
      edx: (edxAmd | (amd ? edx1 & AMD_REPEATED : 0)) >>> 0,
    }),
    ...names.map((registers, i) => fixed(Leaf.BrandString + i, registers)),
    ...host(Leaf.AmdL1Cache, Leaf.AmdL2Cache),
    fixed(Leaf.AddressSizes, { eax: ADDRESS_SIZES, ebx: amd ? controls(supported, AMD_CONTROLS) : 0 }),
    ...(amd ? host(Leaf.AmdCacheParameters) : []),
  ];
}

/** The speculation controls that the host has, each vendor's at its own place. */
function controls(
  supported: readonly CpuidEntry[],
  place: typeof INTEL_CONTROLS | typeof AMD_CONTROLS,
): number {
  const [leaf, register] = FEATURE_REGISTERS[place];
  return ((find(supported, leaf)?.[register] ?? 0) & namedBits(place)) >>> 0;
}

/** AMD's leaf 0x80000000 names the vendor again, as leaf 0 does. */
function vendorOf(supported: readonly CpuidEntry[], amd: boolean): Partial<CpuidEntry> {
  const { ebx = 0, ecx = 0, edx = 0 } = (amd && find(supported, Leaf.Vendor)) || {};
  return { ebx, ecx, edx };
}

/** 48 bytes of ASCII in three leaves, from EAX's lowest byte on. */
function brandString(name: string): Partial<CpuidEntry>[] {
  const word = (at: number) =>
    [3, 2, 1, 0].reduce((sum, i) => sum * 256 + (at + i < name.length ? name.charCodeAt(at + i) : 0), 0);
  return [0, 16, 32].map((at) => ({
    eax: word(at),
    ebx: word(at + 4),
    ecx: word(at + 8),
    edx: word(at + 12),
  }));
}

/** Leaf 0xD follows the features that are left; `keepRest` leaves alone what no name stands for. */
function limitXsave(entries: CpuidEntry[], off: FeatureSet, keepRest: boolean): void {
  const main = find(entries, Leaf.Xsave);
  if (!main) return;
  const names = new Set(
    featureNames(FEATURE_REGISTERS.map(([leaf, register]) => find(entries, leaf)?.[register] ?? 0)),
  );
  const gone = new Set(featureNames(off));
  let components = names.has("xsave") ? (keepRest ? main.eax : XSAVE_LEGACY) : 0;
  for (const [name, bits] of XSAVE_BY_FEATURE) {
    if (names.has(name)) components |= main.eax & bits;
    if (gone.has(name)) components &= ~bits;
  }
  // EAX of a component is its size, EBX its place.
  let size = components === 0 ? 0 : XSAVE_HEADER_END;
  for (const entry of entries) {
    if (entry.function !== Leaf.Xsave || entry.index === 0) continue;
    if (entry.index === 1) {
      // XSAVEOPT, XSAVEC, XSAVES: not every host of a level has them.
      if (!keepRest || components === 0) Object.assign(entry, { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    } else if (entry.index < 32 && (components & (2 ** entry.index)) !== 0) {
      size = Math.max(size, entry.eax + entry.ebx);
    } else if (!keepRest || components === 0 || entry.index < 10) {
      // Components of supervisor state lie above 9 and stay with the host's model.
      Object.assign(entry, { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    }
  }
  Object.assign(main, {
    eax: components >>> 0,
    ebx: size,
    ecx: size,
    edx: keepRest && components !== 0 ? main.edx : 0,
  });
}

function addTopologyExtensions(entries: CpuidEntry[]): void {
  const features = find(entries, Leaf.AmdFeatures);
  if (features) features.ecx = (features.ecx | TOPOLOGY_EXTENSIONS) >>> 0;
  const maximum = find(entries, Leaf.ExtendedMaximum);
  if (maximum) maximum.eax = Math.max(maximum.eax, Leaf.AmdTopology);
  if (find(entries, Leaf.AmdTopology)) return;
  entries.push({ function: Leaf.AmdTopology, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 });
}
