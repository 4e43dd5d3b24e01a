/**
 * KVM's ioctl interface for x86-64: request numbers, structures and constants under the names of <linux/kvm.h> and
 * <asm/kvm.h>. Nothing else.
 */
import { array, bytes, i32, struct, u8, u16, u32, u64, u64big } from "../../base/layout.ts";
import { io, ior, iow, iowr } from "../../sys/ioctl.ts";

const KVMIO = 0xae;

const KVM_H = "linux/kvm.h";
const ASM_KVM_H = "asm/kvm.h";

export const UserspaceMemoryRegion = struct("kvm_userspace_memory_region", KVM_H, {
  slot: u32,
  flags: u32,
  guestPhysAddr: u64,
  memorySize: u64,
  userspaceAddr: u64,
});
/** Makes KVM note which pages the guest writes. */
export const KVM_MEM_LOG_DIRTY_PAGES = 1;
/** Guest writes leave KVM; reads do not. */
export const KVM_MEM_READONLY = 2;

/** `dirtyBitmap` is the address of a bit for each page. */
export const DirtyLog = struct("kvm_dirty_log", KVM_H, { slot: u32, padding: u32, dirtyBitmap: u64 });

export const PitConfig = struct("kvm_pit_config", KVM_H, { flags: u32, pad: array(u32, 15) });
/** Emulates port 0x61 in the kernel: the speaker gate and the output of channel 2. */
export const KVM_PIT_SPEAKER_DUMMY = 1;

export const IrqLevel = struct("kvm_irq_level", KVM_H, { irq: u32, level: u32 });

export const IrqfdArgument = struct("kvm_irqfd", KVM_H, {
  fd: u32,
  gsi: u32,
  flags: u32,
  resamplefd: u32,
  pad: bytes(16),
});
export const KVM_IRQFD_FLAG_DEASSIGN = 1;

export const IoeventfdArgument = struct("kvm_ioeventfd", KVM_H, {
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: i32,
  flags: u32,
  pad: bytes(36),
});
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 4;

export const IrqRoutingHeader = struct("kvm_irq_routing", KVM_H, { nr: u32, flags: u32 });
/** With the MSI member of its union; the irqchip member has the chip in `addressLo` and the pin in `addressHi`. */
export const IrqRoutingEntry = struct("kvm_irq_routing_entry", KVM_H, {
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  addressLo: u32,
  addressHi: u32,
  data: u32,
  devid: u32,
  unionPad: array(u32, 4),
});
export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_IRQ_ROUTING_MSI = 2;
export const KVM_IRQCHIP_PIC_MASTER = 0;
export const KVM_IRQCHIP_PIC_SLAVE = 1;
export const KVM_IRQCHIP_IOAPIC = 2;

export const CpuidHeader = struct("kvm_cpuid2", ASM_KVM_H, { nent: u32, padding: u32 });
export const CpuidEntry2 = struct("kvm_cpuid_entry2", ASM_KVM_H, {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});

export const MsrHeader = struct("kvm_msrs", ASM_KVM_H, { nmsrs: u32, pad: u32 });
export const MsrEntry = struct("kvm_msr_entry", ASM_KVM_H, { index: u32, reserved: u32, data: u64big });

export const Regs = struct("kvm_regs", ASM_KVM_H, {
  rax: u64big,
  rbx: u64big,
  rcx: u64big,
  rdx: u64big,
  rsi: u64big,
  rdi: u64big,
  rsp: u64big,
  rbp: u64big,
  r8: u64big,
  r9: u64big,
  r10: u64big,
  r11: u64big,
  r12: u64big,
  r13: u64big,
  r14: u64big,
  r15: u64big,
  rip: u64big,
  rflags: u64big,
});

export const Segment = struct("kvm_segment", ASM_KVM_H, {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

export const Dtable = struct("kvm_dtable", ASM_KVM_H, { base: u64, limit: u16, padding: array(u16, 3) });

export const Sregs = struct("kvm_sregs", ASM_KVM_H, {
  cs: Segment,
  ds: Segment,
  es: Segment,
  fs: Segment,
  gs: Segment,
  ss: Segment,
  tr: Segment,
  ldt: Segment,
  gdt: Dtable,
  idt: Dtable,
  cr0: u64big,
  cr2: u64big,
  cr3: u64big,
  cr4: u64big,
  cr8: u64big,
  efer: u64big,
  apicBase: u64big,
  interruptBitmap: array(u64big, 4),
});

/** The local APIC's registers, as KVM_GET_LAPIC gives them. */
export const LAPIC_STATE_SIZE = 0x400;

export const KvmRequest = {
  getApiVersion: io(KVMIO, 0x00),
  createVm: io(KVMIO, 0x01),
  checkExtension: io(KVMIO, 0x03),
  getVcpuMmapSize: io(KVMIO, 0x04),
  getSupportedCpuid: iowr(KVMIO, 0x05, CpuidHeader.size),
  createVcpu: io(KVMIO, 0x41),
  getDirtyLog: iow(KVMIO, 0x42, DirtyLog.size),
  setUserMemoryRegion: iow(KVMIO, 0x46, UserspaceMemoryRegion.size),
  setTssAddr: io(KVMIO, 0x47),
  setIdentityMapAddr: iow(KVMIO, 0x48, 8),
  createIrqchip: io(KVMIO, 0x60),
  irqLine: iow(KVMIO, 0x61, IrqLevel.size),
  setGsiRouting: iow(KVMIO, 0x6a, IrqRoutingHeader.size),
  irqfd: iow(KVMIO, 0x76, IrqfdArgument.size),
  createPit2: iow(KVMIO, 0x77, PitConfig.size),
  ioeventfd: iow(KVMIO, 0x79, IoeventfdArgument.size),
  setTscKhz: io(KVMIO, 0xa2),
  kvmclockCtrl: io(KVMIO, 0xad),
  run: io(KVMIO, 0x80),
  getRegs: ior(KVMIO, 0x81, Regs.size),
  setRegs: iow(KVMIO, 0x82, Regs.size),
  getSregs: ior(KVMIO, 0x83, Sregs.size),
  setSregs: iow(KVMIO, 0x84, Sregs.size),
  setMsrs: iow(KVMIO, 0x89, MsrHeader.size),
  getLapic: ior(KVMIO, 0x8e, LAPIC_STATE_SIZE),
  setLapic: iow(KVMIO, 0x8f, LAPIC_STATE_SIZE),
  setCpuid2: iow(KVMIO, 0x90, CpuidHeader.size),
} as const;

export const KVM_API_VERSION = 12;

/** KVM_CAP_*: what KVM_CHECK_EXTENSION is asked. */
export const Capability = {
  irqRouting: 25,
  irqfd: 32,
  ioeventfd: 36,
  maxVcpus: 66,
  tscDeadlineTimer: 72,
  ioeventfdNoLength: 100,
  immediateExit: 136,
} as const;

export const Exit = {
  unknown: 0,
  io: 2,
  debug: 4,
  hlt: 5,
  mmio: 6,
  irqWindowOpen: 7,
  shutdown: 8,
  failEntry: 9,
  intr: 10,
  internalError: 17,
  systemEvent: 24,
} as const;
/** Exit reasons are counted up to here; larger ones share the last counter. */
export const EXIT_REASONS = 40;

export const EXIT_IO_OUT = 1;

export const SystemEvent = { shutdown: 1, reset: 2, crash: 3 } as const;

/** KVM_INTERNAL_ERROR_*: the `suberror` of an internal error. */
export const InternalError = {
  emulation: 1,
  simultaneousExceptions: 2,
  delivery: 3,
  unexpectedExit: 4,
} as const;

/**
 * Byte offsets in struct kvm_run. The members of its union start at 32; only the fields used here are named. Hot paths
 * index typed arrays with them, so they are plain constants.
 */
export const Run = {
  immediateExit: 1,
  exitReason: 8,
  union: 32,
  ioDirection: 32,
  ioSize: 33,
  ioPort: 34,
  ioCount: 36,
  ioDataOffset: 40,
  mmioAddressLow: 32,
  mmioAddressHigh: 36,
  mmioData: 40,
  mmioLength: 48,
  mmioIsWrite: 52,
  systemEventType: 32,
  hardwareReasonLow: 32,
  hardwareReasonHigh: 36,
  internalSuberror: 32,
  internalDataCount: 36,
  internalData: 40,
  /** Instruction bytes of an emulation failure: the size, then up to 15 bytes. */
  emulationFlags: 40,
  emulationInstructionSize: 48,
  emulationInstruction: 49,
} as const;
