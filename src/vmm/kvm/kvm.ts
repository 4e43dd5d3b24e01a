/** KVM's system and VM descriptors: what a machine is made of in the kernel. */
import { ThimbleError } from "../../base/errors.ts";
import { ENOMEM, SystemError } from "../../sys/errno.ts";
import { close, O_RDWR, tryOpen } from "../../sys/fs.ts";
import { ioctl, tryIoctl } from "../../sys/ioctl.ts";
import type { CpuidEntry } from "../cpu/cpuid.ts";
import type { MemoryRegion } from "../memory/guest-memory.ts";
import { Mmio } from "../platform.ts";
import {
  Capability,
  IoeventfdArgument,
  IrqfdArgument,
  IrqLevel,
  KVM_API_VERSION,
  KVM_IOEVENTFD_FLAG_DEASSIGN,
  KVM_IRQFD_FLAG_DEASSIGN,
  KVM_PIT_SPEAKER_DUMMY,
  KvmRequest,
  PitConfig,
  UserspaceMemoryRegion,
} from "./bits.ts";
import { newCpuidArgument, readCpuidArgument } from "./cpuid-argument.ts";
import { KvmVcpu } from "./vcpu.ts";

const DEVICE = "/dev/kvm";
/** KVM_MAX_CPUID_ENTRIES of the kernel. */
const CPUID_ENTRIES_MAX = 256;
/** What must be there; every kernel with KVM since 4.12 has them. */
const REQUIRED = ["irqRouting", "irqfd", "ioeventfd", "immediateExit"] as const;

/** /dev/kvm. */
export class KvmSystem {
  readonly #fd: number;
  readonly #runSizeBytes: number;

  /** Throws ThimbleError("no_kvm") when the host has no usable KVM. */
  constructor() {
    const fd = tryOpen(DEVICE, O_RDWR);
    if (fd < 0) {
      const cause = new SystemError(-fd, "open", DEVICE);
      throw new ThimbleError(
        "no_kvm",
        `${cause.message}: is virtualization (AMD-V, VT-x) enabled in the firmware setup, and KVM in the kernel?`,
        { cause },
      );
    }
    this.#fd = fd;
    const version = ioctl(fd, KvmRequest.getApiVersion, 0, "KVM_GET_API_VERSION");
    if (version !== KVM_API_VERSION) {
      throw new ThimbleError("no_kvm", `${DEVICE} speaks version ${version}, not ${KVM_API_VERSION}`);
    }
    for (const name of REQUIRED) {
      if (this.checkExtension(Capability[name]) === 0) {
        throw new ThimbleError("no_kvm", `${DEVICE} lacks the capability "${name}"`);
      }
    }
    this.#runSizeBytes = ioctl(fd, KvmRequest.getVcpuMmapSize, 0, "KVM_GET_VCPU_MMAP_SIZE");
  }

  /** KVM_CHECK_EXTENSION: 0 when a capability (KVM_CAP_*) is not there. */
  checkExtension(capability: number): number {
    return ioctl(this.#fd, KvmRequest.checkExtension, capability, "KVM_CHECK_EXTENSION");
  }

  /** What guests may be told about the processor. */
  supportedCpuid(): CpuidEntry[] {
    const argument = newCpuidArgument(CPUID_ENTRIES_MAX);
    ioctl(this.#fd, KvmRequest.getSupportedCpuid, argument, "KVM_GET_SUPPORTED_CPUID");
    return readCpuidArgument(argument);
  }

  createVm(): KvmVm {
    return new KvmVm(ioctl(this.#fd, KvmRequest.createVm, 0, "KVM_CREATE_VM"), this.#runSizeBytes);
  }
}

/** One VM in the kernel. Closing the process ends it. */
export class KvmVm {
  /** Arguments used again and again: interrupts are raised on the hot path. */
  readonly #irqLevel = new Uint32Array(IrqLevel.size / 4);
  #nextMemorySlot = 0;

  constructor(
    readonly fd: number,
    private readonly runSizeBytes: number,
  ) {}

  /** PIC, IOAPIC and local APICs, and the interval timer, all in the kernel. Before the first vCPU. */
  createInterruptControllers(): void {
    const identityMap = new Uint32Array([Mmio.kvmIdentityMap.start, 0]);
    ioctl(this.fd, KvmRequest.setIdentityMapAddr, identityMap, "KVM_SET_IDENTITY_MAP_ADDR");
    ioctl(this.fd, KvmRequest.setTssAddr, Mmio.kvmTss.start, "KVM_SET_TSS_ADDR");
    ioctl(this.fd, KvmRequest.createIrqchip, 0, "KVM_CREATE_IRQCHIP");
    const pit = PitConfig.encode({ flags: KVM_PIT_SPEAKER_DUMMY });
    ioctl(this.fd, KvmRequest.createPit2, pit, "KVM_CREATE_PIT2");
  }

  /**
   * Lets the guests' time-stamp counters run at the rate the host's has now. Before the first vCPU. KVM's default is
   * the rate measured when KVM was started; when the host has since measured it anew and found it more than 250 ppm
   * off, KVM without TSC scaling hands out a counter stuck at zero, and the guest's timers never fire. Hosts before
   * 5.18 cannot be told.
   */
  useHostTscRate(): void {
    tryIoctl(this.fd, KvmRequest.setTscKhz, 0);
  }

  /** Gives the guest its RAM: one memory slot a region. */
  setMemory(regions: readonly MemoryRegion[]): void {
    for (const region of regions) {
      const argument = UserspaceMemoryRegion.encode({
        slot: this.takeMemorySlot(),
        guestPhysAddr: region.start,
        memorySize: region.sizeBytes,
        userspaceAddr: region.host,
      });
      ioctl(this.fd, KvmRequest.setUserMemoryRegion, argument, "KVM_SET_USER_MEMORY_REGION");
    }
  }

  /** The number of a memory slot that nobody else uses (memory-slot.ts). */
  takeMemorySlot(): number {
    return this.#nextMemorySlot++;
  }

  createVcpu(index: number): KvmVcpu {
    const fd = ioctl(this.fd, KvmRequest.createVcpu, index, "KVM_CREATE_VCPU");
    try {
      return new KvmVcpu(index, fd, this.runSizeBytes);
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  /** Sets an interrupt line of PIC and IOAPIC. */
  setIrqLine(gsi: number, asserted: boolean): void {
    this.#irqLevel[0] = gsi;
    this.#irqLevel[1] = asserted ? 1 : 0;
    ioctl(this.fd, KvmRequest.irqLine, this.#irqLevel, "KVM_IRQ_LINE");
  }

  /** Replaces the routing table; `table` is struct kvm_irq_routing. */
  setRouting(table: Uint8Array): void {
    ioctl(this.fd, KvmRequest.setGsiRouting, table, "KVM_SET_GSI_ROUTING");
  }

  /** Lets an eventfd deliver a GSI, or no longer. A signal that is pending when it is attached is delivered. */
  setIrqfd(gsi: number, eventFd: number, attached: boolean): void {
    const flags = attached ? 0 : KVM_IRQFD_FLAG_DEASSIGN;
    ioctl(this.fd, KvmRequest.irqfd, IrqfdArgument.encode({ fd: eventFd, gsi, flags }), "KVM_IRQFD");
  }

  /**
   * Lets guest writes of `width` bytes to an address signal an eventfd instead of leaving KVM, or no longer.
   * Returns false when KVM refuses: the address is taken, or there are too many.
   */
  setIoeventfd(address: number, width: number, eventFd: number, attached: boolean): boolean {
    const flags = attached ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN;
    const argument = IoeventfdArgument.encode({ addr: address, len: width, fd: eventFd, flags });
    const result = tryIoctl(this.fd, KvmRequest.ioeventfd, argument);
    if (result === -ENOMEM) throw new SystemError(ENOMEM, "KVM_IOEVENTFD");
    return result >= 0;
  }
}
