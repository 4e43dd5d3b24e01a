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
