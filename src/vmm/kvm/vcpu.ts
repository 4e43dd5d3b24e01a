/** One vCPU of KVM: its descriptor, its kvm_run area, and its registers. */
import { close } from "../../sys/fs.ts";
import { ioctl, tryIoctl } from "../../sys/ioctl.ts";
import { type Mapping, mapShared } from "../../sys/memory.ts";
import type { BootState, SegmentState } from "../cpu/boot-state.ts";
import type { CpuidEntry } from "../cpu/cpuid.ts";
import { KvmRequest, MsrEntry, MsrHeader, Regs, Run, type Segment, Sregs } from "./bits.ts";
import { cpuidArgument } from "./cpuid-argument.ts";

/** A model-specific register and its value. */
export interface MsrValue {
  readonly index: number;
  readonly value: bigint;
}

export class KvmVcpu {
  readonly #run: Mapping;
  /** struct kvm_run and the pages KVM maps behind it. */
  readonly run: ArrayBuffer;

  constructor(
    readonly index: number,
    readonly fd: number,
    runSizeBytes: number,
  ) {
    this.#run = mapShared(fd, 0, runSizeBytes);
    this.run = this.#run.view();
  }

  setCpuid(entries: readonly CpuidEntry[]): void {
    ioctl(this.fd, KvmRequest.setCpuid2, cpuidArgument(entries), "KVM_SET_CPUID2");
  }

  /** Sets registers one by one; returns the indices of those that KVM refuses. */
  setMsrs(values: readonly MsrValue[]): number[] {
    const refused: number[] = [];
    for (const { index, value } of values) {
      const argument = new Uint8Array(MsrHeader.size + MsrEntry.size);
      MsrHeader.patch(argument, 0, { nmsrs: 1 });
      MsrEntry.patch(argument, MsrHeader.size, { index, data: value });
      if (tryIoctl(this.fd, KvmRequest.setMsrs, argument) !== 1) refused.push(index);
    }
    return refused;
  }

  /** Puts the boot CPU where the guest starts. */
  setBootState(state: BootState): void {
    const sregs = new Uint8Array(Sregs.size);
    ioctl(this.fd, KvmRequest.getSregs, sregs, "KVM_GET_SREGS"); // the APIC base stays as KVM made it
    const data = segment(state.data);
    Sregs.patch(sregs, 0, {
      cs: segment(state.cs),
      ds: data,
      es: data,
      fs: data,
      gs: data,
      ss: data,
      tr: segment(state.tr),
      ldt: segment(state.ldt),
      gdt: { base: state.gdt.base, limit: state.gdt.limit, padding: [] },
      idt: { base: state.idt.base, limit: state.idt.limit, padding: [] },
      cr0: BigInt(state.cr0),
      cr3: BigInt(state.cr3),
      cr4: BigInt(state.cr4),
      efer: BigInt(state.efer),
    });
    ioctl(this.fd, KvmRequest.setSregs, sregs, "KVM_SET_SREGS");
    const regs = Regs.encode({
      rip: BigInt(state.rip),
      rsp: BigInt(state.rsp),
      rax: BigInt(state.rax),
      rbx: BigInt(state.rbx),
      rsi: BigInt(state.rsi),
      rdi: BigInt(state.rdi),
      rbp: BigInt(state.rbp),
      rflags: BigInt(state.rflags),
    });
    ioctl(this.fd, KvmRequest.setRegs, regs, "KVM_SET_REGS");
  }

  /** The registers as text for a failure report. To be called on the vCPU's own thread or while it does not run. */
  describe(): string {
    const regsBytes = new Uint8Array(Regs.size);
    const sregsBytes = new Uint8Array(Sregs.size);
    if (
      tryIoctl(this.fd, KvmRequest.getRegs, regsBytes) < 0 ||
      tryIoctl(this.fd, KvmRequest.getSregs, sregsBytes) < 0
    ) {
      return `vCPU ${this.index}: registers cannot be read`;
    }
    const regs = Regs.decode(regsBytes);
    const sregs = Sregs.decode(sregsBytes);
    let text = `vCPU ${this.index}:`;
    for (const name in regs) text += ` ${name} ${regs[name as keyof typeof regs].toString(16)}`;
    for (const name of ["cr0", "cr2", "cr3", "cr4", "efer", "apicBase"] as const) {
      text += ` ${name} ${sregs[name].toString(16)}`;
    }
    for (const name of ["cs", "ds", "ss", "tr"] as const) {
      const { selector, base, limit } = sregs[name];
      text += ` ${name} ${selector.toString(16)}:${base.toString(16)}+${limit.toString(16)}`;
    }
    return text;
  }

  /** Makes the present or next KVM_RUN return at once; the thread is to be interrupted as well. */
  requestExit(): void {
    new Uint8Array(this.run)[Run.immediateExit] = 1;
  }

  /** Takes `requestExit` back, for a guest that has been kept waiting and is not to take it for a fault. */
  allowEntry(): void {
    new Uint8Array(this.run)[Run.immediateExit] = 0;
    tryIoctl(this.fd, KvmRequest.kvmclockCtrl, null); // refused where the guest has no such clock
  }

  /** Only once its thread has ended. */
  close(): void {
    this.#run.unmap();
    close(this.fd);
  }
}

function segment(state: SegmentState): ReturnType<typeof Segment.decode> {
  return { ...state, avl: 0, padding: 0 };
}
