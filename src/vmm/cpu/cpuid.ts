/**
 * What CPUID tells a guest.
 *
 * Start from what KVM can support on this host (KVM_GET_SUPPORTED_CPUID), take away what a guest is not to have
 * (nested virtualization, performance counters, enclaves), and replace everything that says how many CPUs there are:
 * sockets of cores of threads, APIC id = CPU index, the last-level cache shared by a socket's CPUs, the others by a core's.
 */
import { type CpuTopology, cpuTopology } from "../../base/cpu-topology.ts";
import {
  AmdFeaturesEcx,
  ExtendedFeaturesEbx,
  ExtendedFeaturesEcx,
  ExtendedFeaturesEdx,
  FeaturesEcx,
  FeaturesEdx,
  FLAG_INDEX,
  KVM_FEATURES_ALLOWED,
  Leaf,
  TopologyType,
} from "./cpuid-bits.ts";

/** One register set of CPUID, as KVM_GET_SUPPORTED_CPUID returns and KVM_SET_CPUID2 takes them. Values are unsigned. */
export interface CpuidEntry {
  function: number;
  index: number;
  /** KVM_CPUID_FLAG_*: bit 0 says that `index` matters. */
  flags: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

export interface CpuidOptions {
  /** Number of vCPUs, 1 to 64. */
  readonly cpus: number;
  /** Which of them this is for. */
  readonly cpu: number;
  /** Multiplies to `cpus`. Default: one socket of as many cores. */
  readonly topology?: CpuTopology;
  /** KVM has KVM_CAP_TSC_DEADLINE_TIMER (KVM_GET_SUPPORTED_CPUID does not say). */
  readonly tscDeadlineTimer: boolean;
}

/** Physical address bits assumed when the CPU does not say: every x86-64 CPU has as many. */
const ADDRESS_BITS_DEFAULT = 36;
/** "KVMKVMKVM\0\0\0" in EBX, ECX, EDX. */
const KVM_SIGNATURE = { ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d } as const;
/** First and last of the leaves that describe the hypervisor. */
const HYPERVISOR_FIRST: number = Leaf.HypervisorSignature;
const HYPERVISOR_LAST = 0x4000_ffff;

/** The list for one vCPU, for KVM_SET_CPUID2. The input is not changed. */
export function guestCpuid(supported: readonly CpuidEntry[], options: CpuidOptions): CpuidEntry[] {
  const amd = isAmd(supported);
  const groups = groupsOf(options);
  const largestBasic = find(supported, Leaf.Vendor)?.eax ?? 0;
  const entries: CpuidEntry[] = [];
  for (const entry of supported) {
    if (isReplaced(entry.function)) continue;
    const own = { ...entry };
    adjust(own, options, groups, amd);
    entries.push(own);
  }
  entries.push(...hypervisorLeaves(supported));
  if (largestBasic >= Leaf.Topology) entries.push(...topologyLeaf(Leaf.Topology, options.cpu, groups));
  if (largestBasic >= Leaf.TopologyV2) entries.push(...topologyLeaf(Leaf.TopologyV2, options.cpu, groups));
  return entries;
}

/** How many physical address bits the guest has: limits where PCI windows may go. */
export function physicalAddressBits(supported: readonly CpuidEntry[]): number {
  const eax = find(supported, Leaf.AddressSizes)?.eax ?? 0;
  const bits = eax & 0xff;
  // What the guest may use can be less than what the CPU has, with 4-level nested paging.
  const guestBits = (eax >>> 16) & 0xff;
  if (bits === 0) return ADDRESS_BITS_DEFAULT;
  return guestBits === 0 ? bits : Math.min(bits, guestBits);
}

function isReplaced(leaf: number): boolean {
  return (
    leaf === Leaf.Topology ||
    leaf === Leaf.TopologyV2 ||
    leaf === Leaf.AmdTopologyV2 ||
    (leaf >= HYPERVISOR_FIRST && leaf <= HYPERVISOR_LAST)
  );
}

function adjust(entry: CpuidEntry, options: CpuidOptions, groups: Groups, amd: boolean): void {
  const { cpu } = options;
  const { inSocket, threads } = groups;
  switch (entry.function) {
    case Leaf.Features:
      // Local APIC id, addressable ids in the package; CLFLUSH size and brand index stay.
      entry.ebx = ((entry.ebx & 0xffff) | (2 ** groups.socketShift * 65536) | (cpu << 24)) >>> 0;
      entry.ecx = setBits(entry.ecx, FeaturesEcx.Hypervisor | FeaturesEcx.X2apic, FEATURES_ECX_OFF);
      entry.ecx = assign(entry.ecx, FeaturesEcx.TscDeadline, options.tscDeadlineTimer);
      entry.edx = assign(entry.edx & ~FeaturesEdx.DebugStore, FeaturesEdx.HyperThreading, inSocket > 1);
      return;
    case Leaf.CacheParameters:
      // Type 0 ends the list.
      if (entry.eax & 0x1f) {
        const sharing = 2 ** (cacheLevel(entry.eax) >= 3 ? groups.socketShift : groups.coreShift);
        const cores = 2 ** (groups.socketShift - groups.coreShift);
        entry.eax = ((entry.eax & 0x3fff) | ((sharing - 1) << 14) | ((cores - 1) << 26)) >>> 0;
      }
      return;
    case Leaf.ExtendedFeatures:
      if (entry.index !== 0) return;
      entry.ebx = setBits(entry.ebx, 0, ExtendedFeaturesEbx.Sgx | ExtendedFeaturesEbx.ProcessorTrace);
      entry.ecx = setBits(entry.ecx, 0, ExtendedFeaturesEcx.SgxLaunchControl);
      // KVM emulates Intel's capability MSR everywhere; on an AMD CPU guests do not expect it.
      entry.edx = setBits(
        entry.edx,
        0,
        ExtendedFeaturesEdx.ArchLbr | (amd ? ExtendedFeaturesEdx.ArchCapabilities : 0),
      );
      return;
    case Leaf.AmdFeatures:
      entry.ecx = setBits(entry.ecx, 0, AMD_FEATURES_ECX_OFF);
      entry.ecx = assign(entry.ecx, AmdFeaturesEcx.LegacyMultiCore, amd && inSocket > 1);
      return;
    case Leaf.AddressSizes:
      // Bits 7:0 a package's threads less one, 15:12 width of the id within a package in the APIC id.
      if (amd) entry.ecx = (inSocket - 1) | (groups.socketShift << 12);
      return;
    case Leaf.AmdCacheParameters:
      if (entry.eax & 0x1f) {
        const sharing = cacheLevel(entry.eax) >= 3 ? inSocket : threads;
        entry.eax = ((entry.eax & 0x3fff) | ((sharing - 1) << 14)) >>> 0;
      }
      return;
    case Leaf.AmdTopology:
      if (!amd) return;
      // Extended APIC id; core id, 15:8 threads of a core less one; node id, one node a package.
      entry.eax = cpu;
      entry.ebx = ((cpu % 2 ** groups.socketShift) >>> groups.coreShift) | ((threads - 1) << 8);
      entry.ecx = cpu >>> groups.socketShift;
      entry.edx = 0;
      return;
    case Leaf.PerformanceMonitoring:
    case Leaf.Sgx:
    case Leaf.ProcessorTrace:
    case Leaf.Svm:
    case Leaf.MemoryEncryption:
    case Leaf.AmdPerformanceMonitoring:
      entry.eax = 0;
      entry.ebx = 0;
      entry.ecx = 0;
      entry.edx = 0;
      return;
    default:
      return;
  }
}

const FEATURES_ECX_OFF =
  FeaturesEcx.Vmx |
  FeaturesEcx.Smx |
  FeaturesEcx.PerfCapabilities |
  FeaturesEcx.Dtes64 |
  FeaturesEcx.DebugStoreCpl |
  FeaturesEcx.Monitor;

const AMD_FEATURES_ECX_OFF =
  AmdFeaturesEcx.Svm |
  AmdFeaturesEcx.Ibs |
  AmdFeaturesEcx.Lwp |
  AmdFeaturesEcx.NodeIdMsr |
  AmdFeaturesEcx.PerfCounterCore |
  AmdFeaturesEcx.PerfCounterNorthbridge |
  AmdFeaturesEcx.PerfTsc |
  AmdFeaturesEcx.PerfCounterLastLevel;

/** Leaves 0xB and 0x1F: threads of a core, cores of the package, end. */
function topologyLeaf(leaf: number, cpu: number, groups: Groups): CpuidEntry[] {
  const level = (index: number, shift: number, count: number, type: number): CpuidEntry => ({
    function: leaf,
    index,
    flags: FLAG_INDEX,
    eax: shift,
    ebx: count,
    ecx: (type << 8) | index,
    edx: cpu,
  });
  return [
    level(0, groups.coreShift, groups.threads, TopologyType.Thread),
    level(1, groups.socketShift, groups.inSocket, TopologyType.Core),
    level(2, 0, 0, 0),
  ];
}

function hypervisorLeaves(supported: readonly CpuidEntry[]): CpuidEntry[] {
  const features = find(supported, Leaf.HypervisorFeatures);
  const base = { index: 0, flags: 0 };
  return [
    { ...base, function: Leaf.HypervisorSignature, eax: Leaf.HypervisorFeatures, ...KVM_SIGNATURE },
    {
      ...base,
      function: Leaf.HypervisorFeatures,
      eax: ((features?.eax ?? 0) & KVM_FEATURES_ALLOWED) >>> 0,
      ebx: 0,
      ecx: 0,
      edx: 0,
    },
  ];
}

/** The entry of a leaf that has one, or the first. */
export function find(entries: readonly CpuidEntry[], leaf: number): CpuidEntry | undefined {
  return entries.find((e) => e.function === leaf && e.index === 0);
}

/** "AuthenticAMD" or its licensee "HygonGenuine", by the first four letters. */
export function isAmd(entries: readonly CpuidEntry[]): boolean {
  const ebx = find(entries, Leaf.Vendor)?.ebx;
  return ebx === 0x6874_7541 || ebx === 0x6f67_7948;
}

function cacheLevel(eax: number): number {
  return (eax >>> 5) & 7;
}

/** Bits of an APIC id that tell `cpus` CPUs apart. */
function idBits(cpus: number): number {
  return 32 - Math.clz32(cpus - 1);
}

/** What the leaves say about how CPUs are grouped. Shifts take an APIC id to the id of its core, of its socket. */
interface Groups {
  readonly threads: number;
  readonly inSocket: number;
  readonly coreShift: number;
  readonly socketShift: number;
}

function groupsOf({ cpus, topology }: CpuidOptions): Groups {
  const { threads, cores } = topology ?? cpuTopology(cpus);
  const coreShift = idBits(threads);
  return { threads, inSocket: cores * threads, coreShift, socketShift: coreShift + idBits(cores) };
}

function setBits(value: number, on: number, off: number): number {
  return ((value | on) & ~off) >>> 0;
}

function assign(value: number, bit: number, on: boolean): number {
  return setBits(value, on ? bit : 0, on ? 0 : bit);
}
