/** Model-specific registers that firmware sets up before an operating system starts; the same on every vCPU. */
import type { MsrValue } from "../kvm/vcpu.ts";

/** Intel SDM vol. 4, table 2-2. */
const IA32_MISC_ENABLE = 0x1a0;
const IA32_MTRR_DEF_TYPE = 0x2ff;
/** Fast string operations: Linux takes REP MOVSB for slow without it. */
const FAST_STRINGS = 1n << 0n;
/** MTRRs on (bit 11), and write-back memory where none says otherwise: without it Linux does not use PAT either. */
const MTRR_ENABLE = 1n << 11n;
const WRITE_BACK = 6n;

/** What processors have after power-on, where guest firmware sets the others up. */
export const RESET_MSRS: readonly MsrValue[] = [{ index: IA32_MISC_ENABLE, value: FAST_STRINGS }];

export const FIRMWARE_MSRS: readonly MsrValue[] = [
  ...RESET_MSRS,
  { index: IA32_MTRR_DEF_TYPE, value: MTRR_ENABLE | WRITE_BACK },
];
