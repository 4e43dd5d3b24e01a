/**
 * A vhost device: the kernel works on the guest's rings by itself, driven by the doorbells' eventfds and interrupting
 * through the MSI routes' (Documentation in linux/vhost.h). This process only sets it up.
 */
import { array, i32, struct, u32, u64 } from "../../base/layout.ts";
import { signalEventFd } from "../../sys/eventfd.ts";
import { close } from "../../sys/fs.ts";
import { io, ioctl, ior, iow, iowr, tryIoctl } from "../../sys/ioctl.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { Features, KernelRing } from "../virtio/device.ts";
import type { KernelBackend } from "../virtio/kernel-backend.ts";

/** The type of vhost's ioctls. */
export const VHOST = 0xaf;
const H = "linux/vhost_types.h";

const VringState = struct("vhost_vring_state", H, { index: u32, num: u32 });
export const VringFile = struct("vhost_vring_file", H, { index: u32, fd: i32 });
const VringAddress = struct("vhost_vring_addr", H, {
  index: u32,
  flags: u32,
  descUserAddr: u64,
  usedUserAddr: u64,
  availUserAddr: u64,
  logGuestAddr: u64,
});
const MemoryHeader = struct("vhost_memory", H, { nregions: u32, padding: u32 });
const Region = struct("vhost_memory_region", H, {
  guestPhysAddr: u64,
  memorySize: u64,
  userspaceAddr: u64,
  flagsPadding: u64,
});

const VHOST_GET_FEATURES = ior(VHOST, 0x00, 8);
const VHOST_SET_FEATURES = iow(VHOST, 0x00, 8);
const VHOST_SET_OWNER = io(VHOST, 0x01);
const VHOST_SET_MEM_TABLE = iow(VHOST, 0x03, MemoryHeader.size);
const VHOST_SET_VRING_NUM = iow(VHOST, 0x10, VringState.size);
const VHOST_SET_VRING_ADDR = iow(VHOST, 0x11, VringAddress.size);
const VHOST_SET_VRING_BASE = iow(VHOST, 0x12, VringState.size);
const VHOST_GET_VRING_BASE = iowr(VHOST, 0x12, VringState.size);
const VHOST_SET_VRING_KICK = iow(VHOST, 0x20, VringFile.size);
const VHOST_SET_VRING_CALL = iow(VHOST, 0x21, VringFile.size);

/** A descriptor that takes the place of none: unbinds. */
export const NO_FD = -1;

/** Rings are numbered by their place in `start`'s array, whatever their number in the device. */
export abstract class Vhost implements KernelBackend {
  protected readonly fd: number;
  readonly #memory: GuestMemory;
  readonly #known: Features;
  readonly #offered: Features;
  #rings: readonly KernelRing[] = [];

  /** `known` are the features that the kernel must be told of. The descriptor stays the caller's if this throws. */
  protected constructor(fd: number, memory: GuestMemory, known: Features) {
    this.fd = fd;
    this.#memory = memory;
    this.#known = known;
    ioctl(fd, VHOST_SET_OWNER, 0, "VHOST_SET_OWNER");
    const words = new Uint32Array(2);
    ioctl(fd, VHOST_GET_FEATURES, words, "VHOST_GET_FEATURES");
    this.#offered = { low: words[0] as number, high: words[1] as number };
    const { regions } = memory;
    const Table = struct("vhost_memory", H, { header: MemoryHeader, regions: array(Region, regions.length) });
    const table = Table.encode({
      header: { nregions: regions.length, padding: 0 },
      regions: regions.map((region) => ({
        guestPhysAddr: region.start,
        memorySize: region.sizeBytes,
        userspaceAddr: region.host,
        flagsPadding: 0,
      })),
    });
    ioctl(fd, VHOST_SET_MEM_TABLE, table, "VHOST_SET_MEM_TABLE");
  }

  /** Lets the kernel work on the rings, or waits until it has left them alone. False when it refuses. */
  protected abstract run(rings: number, on: boolean): boolean;

  supports(driverFeatures: Features): boolean {
    const { low, high } = this.#ringFeatures(driverFeatures);
    return (low & ~this.#offered.low) === 0 && (high & ~this.#offered.high) === 0;
  }

  start(rings: readonly KernelRing[], driverFeatures: Features): boolean {
    const { low, high } = this.#ringFeatures(driverFeatures);
    const started =
      tryIoctl(this.fd, VHOST_SET_FEATURES, new Uint32Array([low, high])) >= 0 &&
      rings.every((ring, index) => this.#setUp(ring, index)) &&
      this.run(rings.length, true);
    if (started) this.#rings = rings;
    else this.run(rings.length, false);
    return started;
  }

  stop(): readonly number[] {
    this.run(this.#rings.length, false);
    const stopped = this.#rings.map((_, index) => {
      const state = VringState.encode({ index });
      ioctl(this.fd, VHOST_GET_VRING_BASE, state, "VHOST_GET_VRING_BASE");
      return VringState.decode(state).num;
    });
    this.#rings.forEach((_, index) => {
      this.setFile(VHOST_SET_VRING_KICK, index, NO_FD);
      this.setFile(VHOST_SET_VRING_CALL, index, NO_FD);
    });
    this.#rings = [];
    return stopped;
  }

  kick(queue: number): void {
    const ring = this.#rings[queue];
    if (ring !== undefined) signalEventFd(ring.kickFd);
  }

  setCallFd(queue: number, callFd: number): void {
    this.setFile(VHOST_SET_VRING_CALL, queue, callFd);
  }

  close(): void {
    close(this.fd);
  }

  protected setFile(request: number, index: number, fd: number): boolean {
    return tryIoctl(this.fd, request, VringFile.encode({ index, fd })) >= 0;
  }

  #setUp(ring: KernelRing, index: number): boolean {
    const address = VringAddress.encode({
      index,
      descUserAddr: this.#memory.hostAddress(ring.descriptorTable),
      usedUserAddr: this.#memory.hostAddress(ring.usedRing),
      availUserAddr: this.#memory.hostAddress(ring.availableRing),
    });
    return (
      tryIoctl(this.fd, VHOST_SET_VRING_NUM, VringState.encode({ index, num: ring.size })) >= 0 &&
      tryIoctl(this.fd, VHOST_SET_VRING_BASE, VringState.encode({ index, num: ring.nextAvailable })) >= 0 &&
      tryIoctl(this.fd, VHOST_SET_VRING_ADDR, address) >= 0 &&
      this.setFile(VHOST_SET_VRING_KICK, index, ring.kickFd) &&
      this.setFile(VHOST_SET_VRING_CALL, index, ring.callFd)
    );
  }

  #ringFeatures(driver: Features): Features {
    return { low: (driver.low & this.#known.low) >>> 0, high: (driver.high & this.#known.high) >>> 0 };
  }
}
