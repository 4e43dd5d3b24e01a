/**
 * The state of the boot CPU when it enters the guest: plain data, shaped like KVM's kvm_regs and kvm_sregs.
 *
 * Other CPUs need none: with KVM's interrupt controllers they wait for the INIT and start-up messages of the guest.
 */
import type { GuestPhysical } from "../../base/addresses.ts";

/** A segment register with its hidden part (kvm_segment; Intel SDM vol. 3, 3.4.3). */
export interface SegmentState {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  /** Descriptor type: 0xB code, execute/read, accessed; 0x3 data, read/write, accessed; 0xB busy TSS (system). */
  readonly type: number;
  readonly present: 0 | 1;
  readonly dpl: number;
  /** Default operand size 32 bits. */
  readonly db: 0 | 1;
  /** 1 for code and data, 0 for system segments. */
  readonly s: 0 | 1;
  /** 64-bit code. */
  readonly l: 0 | 1;
  /** Limit counts pages. */
  readonly g: 0 | 1;
  readonly unusable: 0 | 1;
}

export interface DescriptorTable {
  readonly base: GuestPhysical;
  readonly limit: number;
}

/** General registers not named are zero. */
export interface BootState {
  readonly rip: number;
  readonly rsp: number;
  readonly rbx: number;
  readonly rsi: number;
  readonly rdi: number;
  readonly rbp: number;
  readonly rflags: number;
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly cs: SegmentState;
  /** ds, es, fs, gs and ss. */
  readonly data: SegmentState;
  readonly tr: SegmentState;
  readonly ldt: SegmentState;
  readonly gdt: DescriptorTable;
  readonly idt: DescriptorTable;
}
