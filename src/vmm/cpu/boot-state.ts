/**
 * The state of the boot CPU when it enters the guest: plain data, shaped like KVM's kvm_regs and kvm_sregs.
 *
 * Other CPUs need none: with KVM's interrupt controllers they wait for the INIT and start-up messages of the guest.
 */
import { type GuestPhysical, guestPhysical } from "../../base/addresses.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

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
  readonly rax: number;
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

/** The registers that differ from kernel to kernel; those not given are zero. */
export interface EntryRegisters {
  readonly rip: number;
  readonly rsp: number;
  readonly rax?: number;
  readonly rbx?: number;
  readonly rsi?: number;
}

/** Selectors as Linux's boot protocol names them: __BOOT_CS, __BOOT_DS; then the task segment. */
const Selector = { code: 0x10, data: 0x18, task: 0x20 } as const;
/** Null, unused, code, data, and a task descriptor of two entries. */
const GDT_ENTRIES = 6;
const DESCRIPTOR_SIZE = 8;
export const GDT_SIZE: number = GDT_ENTRIES * DESCRIPTOR_SIZE;
const LIMIT_4GIB = 0xffff_ffff;
const RFLAGS_FIXED = 0x2;

const Cr0 = { ProtectedMode: 0x1, ExtensionType: 0x10, NumericError: 0x20, Paging: 0x8000_0000 } as const;
const Cr4 = { PhysicalAddressExtension: 0x20 } as const;
const Efer = { LongModeEnable: 0x100, LongModeActive: 0x400 } as const;

const DATA: SegmentState = {
  selector: Selector.data,
  base: 0,
  limit: LIMIT_4GIB,
  type: 0x3,
  present: 1,
  dpl: 0,
  db: 1,
  s: 1,
  l: 0,
  g: 1,
  unusable: 0,
};
const CODE32: SegmentState = { ...DATA, selector: Selector.code, type: 0xb };
const CODE64: SegmentState = { ...CODE32, db: 0, l: 1 };
const TASK: SegmentState = { ...DATA, selector: Selector.task, limit: 0x67, type: 0xb, db: 0, s: 0, g: 0 };
const NO_LDT: SegmentState = { ...TASK, selector: 0, limit: 0, type: 0x2, present: 0, unusable: 1 };
const NO_IDT: DescriptorTable = { base: guestPhysical(0), limit: 0 };

/** Writes a flat GDT whose selectors are those of the states below. */
export function writeGdt(memory: GuestMemory, at: GuestPhysical, codeBits: 32 | 64): DescriptorTable {
  const table = new Uint8Array(GDT_SIZE);
  for (const segment of [codeBits === 64 ? CODE64 : CODE32, DATA, TASK]) writeDescriptor(table, segment);
  memory.write(at, table);
  return { base: at, limit: table.length - 1 };
}

/** A segment descriptor (Intel SDM vol. 3, figure 3-8) at its selector's place; all bases here are 0. */
function writeDescriptor(table: Uint8Array, segment: SegmentState): void {
  const limit = segment.g ? segment.limit >>> 12 : segment.limit;
  const at = segment.selector;
  table[at] = limit;
  table[at + 1] = limit >>> 8;
  table[at + 5] = segment.type | (segment.s << 4) | (segment.dpl << 5) | (segment.present << 7);
  table[at + 6] = ((limit >>> 16) & 0x0f) | (segment.l << 5) | (segment.db << 6) | (segment.g << 7);
}

/** 64-bit mode with paging on, interrupts off. */
export function longModeState(gdt: DescriptorTable, cr3: number, registers: EntryRegisters): BootState {
  return {
    ...common(gdt, registers),
    cr0: Cr0.ProtectedMode + Cr0.ExtensionType + Cr0.NumericError + Cr0.Paging,
    cr3,
    cr4: Cr4.PhysicalAddressExtension,
    efer: Efer.LongModeEnable | Efer.LongModeActive,
    cs: CODE64,
  };
}

/** 32-bit protected mode without paging, interrupts off. */
export function protectedModeState(gdt: DescriptorTable, registers: EntryRegisters): BootState {
  return {
    ...common(gdt, registers),
    cr0: Cr0.ProtectedMode + Cr0.ExtensionType,
    cr3: 0,
    cr4: 0,
    efer: 0,
    cs: CODE32,
  };
}

function common(gdt: DescriptorTable, registers: EntryRegisters) {
  return {
    rip: registers.rip,
    rsp: registers.rsp,
    rax: registers.rax ?? 0,
    rbx: registers.rbx ?? 0,
    rsi: registers.rsi ?? 0,
    rdi: 0,
    rbp: 0,
    rflags: RFLAGS_FIXED,
    data: DATA,
    tr: TASK,
    ldt: NO_LDT,
    gdt,
    idt: NO_IDT,
  };
}
