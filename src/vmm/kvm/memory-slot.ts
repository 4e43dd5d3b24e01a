/**
 * Memory of a device that the guest reaches without leaving KVM: a framebuffer, flash that is being read. It may be
 * moved, taken away and shown again, and KVM can note which of its pages the guest writes.
 */
import type { GuestPhysical, HostVirtual } from "../../base/addresses.ts";
import { ioctl, tryIoctl } from "../../sys/ioctl.ts";
import { addressOf } from "../../sys/vector-io.ts";
import {
  DirtyLog,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  KvmRequest,
  UserspaceMemoryRegion,
} from "./bits.ts";
import type { KvmVm } from "./kvm.ts";

export interface MemorySlotOptions {
  readonly host: HostVirtual;
  /** A multiple of the page size. */
  readonly sizeBytes: number;
  /** Guest writes leave KVM and reach the MMIO bus. */
  readonly readOnly?: boolean;
}

export class KvmMemorySlot {
  readonly #vm: KvmVm;
  readonly #options: MemorySlotOptions;
  readonly #slot: number;
  #address: GuestPhysical | null = null;
  #logging = false;

  /** The guest sees nothing of it before `place`. */
  constructor(vm: KvmVm, options: MemorySlotOptions) {
    this.#vm = vm;
    this.#options = options;
    this.#slot = vm.takeMemorySlot();
  }

  /**
   * Shows it at a guest-physical address, or takes it away with null. Returns false when KVM refuses, as it does when
   * other memory is there already (a guest laid a BAR over it): then accesses reach the MMIO bus.
   */
  place(address: GuestPhysical | null): boolean {
    if (address === this.#address) return true;
    if (this.#address !== null) this.#set(this.#address, 0);
    this.#address = null;
    if (address === null) return true;
    if (this.#set(address, this.#options.sizeBytes) < 0) return false;
    this.#address = address;
    return true;
  }

  /** Whether KVM notes which pages the guest writes. Off, writing costs the guest nothing. */
  setLogging(logging: boolean): void {
    if (logging === this.#logging) return;
    this.#logging = logging;
    if (this.#address !== null) this.#set(this.#address, this.#options.sizeBytes);
  }

  /**
   * Sets a bit for each page written since the last call, and clears the others. `bitmap` has a multiple of 8 bytes,
   * enough for all pages. Does nothing while the slot is not shown or not logging.
   */
  takeDirty(bitmap: Uint8Array): void {
    if (this.#address === null || !this.#logging) return;
    const argument = DirtyLog.encode({ slot: this.#slot, dirtyBitmap: addressOf(bitmap) });
    ioctl(this.#vm.fd, KvmRequest.getDirtyLog, argument, "KVM_GET_DIRTY_LOG");
  }

  /** A size of zero deletes the slot. Returns 0 or a negative errno. */
  #set(guestPhysAddr: number, memorySize: number): number {
    const { host, readOnly } = this.#options;
    const argument = UserspaceMemoryRegion.encode({
      slot: this.#slot,
      flags: (this.#logging ? KVM_MEM_LOG_DIRTY_PAGES : 0) | (readOnly ? KVM_MEM_READONLY : 0),
      guestPhysAddr,
      memorySize,
      userspaceAddr: host,
    });
    return tryIoctl(this.#vm.fd, KvmRequest.setUserMemoryRegion, argument);
  }
}
