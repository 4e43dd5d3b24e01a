/** CPUID leaves and the bits in them that a guest's view changes. Intel SDM vol. 2A "CPUID", AMD APM vol. 3 appendix E, Linux Documentation/virt/kvm/x86/cpuid.rst. */

export const Leaf = {
  Vendor: 0x0,
  Features: 0x1,
  CacheDescriptors: 0x2,
  CacheParameters: 0x4,
  ThermalPower: 0x6,
  ExtendedFeatures: 0x7,
  PerformanceMonitoring: 0xa,
  Topology: 0xb,
  Xsave: 0xd,
  Sgx: 0x12,
  ProcessorTrace: 0x14,
  TopologyV2: 0x1f,
  HypervisorSignature: 0x4000_0000,
  HypervisorFeatures: 0x4000_0001,
  ExtendedMaximum: 0x8000_0000,
  AmdFeatures: 0x8000_0001,
  /** First of three. */
  BrandString: 0x8000_0002,
  AmdL1Cache: 0x8000_0005,
  AmdL2Cache: 0x8000_0006,
  AddressSizes: 0x8000_0008,
  Svm: 0x8000_000a,
  AmdCacheParameters: 0x8000_001d,
  AmdTopology: 0x8000_001e,
  MemoryEncryption: 0x8000_001f,
  AmdPerformanceMonitoring: 0x8000_0022,
  AmdTopologyV2: 0x8000_0026,
} as const;

/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the entry is for one value of ECX. */
export const FLAG_INDEX = 1;

export const FeaturesEcx = {
  Dtes64: 1 << 2,
  Monitor: 1 << 3,
  DebugStoreCpl: 1 << 4,
  Vmx: 1 << 5,
  Smx: 1 << 6,
  PerfCapabilities: 1 << 15,
  X2apic: 1 << 21,
  TscDeadline: 1 << 24,
  Hypervisor: 2 ** 31,
} as const;

export const FeaturesEdx = { DebugStore: 1 << 21, HyperThreading: 1 << 28 } as const;

export const ExtendedFeaturesEbx = { Sgx: 1 << 2, ProcessorTrace: 1 << 25 } as const;
export const ExtendedFeaturesEcx = { SgxLaunchControl: 1 << 30 } as const;
export const ExtendedFeaturesEdx = { ArchLbr: 1 << 19, ArchCapabilities: 1 << 29 } as const;

export const AmdFeaturesEcx = {
  LegacyMultiCore: 1 << 1,
  Svm: 1 << 2,
  Ibs: 1 << 10,
  Lwp: 1 << 15,
  NodeIdMsr: 1 << 19,
  TopologyExtensions: 1 << 22,
  PerfCounterCore: 1 << 23,
  PerfCounterNorthbridge: 1 << 24,
  PerfTsc: 1 << 27,
  PerfCounterLastLevel: 1 << 28,
} as const;

/** Domain types of leaves 0xB and 0x1F. */
export const TopologyType = { Thread: 1, Core: 2 } as const;

/**
 * Paravirtual features (KVM_FEATURE_*, KVM_HINTS_* left out) that need nothing from the VMM: clocks, I/O delay, async
 * page faults, steal time, end of interrupt, unhalt, TLB flush, IPI, poll control, yield.
 */
export const KVM_FEATURES_ALLOWED = 0x0100_7efb;
