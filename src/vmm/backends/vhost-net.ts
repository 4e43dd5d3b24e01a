/**
 * vhost-net: the kernel moves frames between the guest's rings and the tap by itself, driven by the doorbells'
 * eventfds and interrupting through the MSI routes' (Documentation in linux/vhost.h). This process only sets it up.
 */
import { array, i32, struct, u32, u64 } from "../../base/layout.ts";
import { signalEventFd } from "../../sys/eventfd.ts";
import { close, O_RDWR, tryOpen } from "../../sys/fs.ts";
import { io, ioctl, ior, iow, iowr, tryIoctl } from "../../sys/ioctl.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { Feature } from "../virtio/bits.ts";
import { type Features, features, type KernelRing } from "../virtio/device.ts";
import { NetFeature } from "../virtio/net/bits.ts";
import type { NetKernelBackend } from "../virtio/net/kernel-backend.ts";

const DEVICE = "/dev/vhost-net";
const VHOST = 0xaf;
const H = "linux/vhost_types.h";

const VringState = struct("vhost_vring_state", H, { index: u32, num: u32 });
const VringFile = struct("vhost_vring_file", H, { index: u32, fd: i32 });
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
const VHOST_NET_SET_BACKEND = iow(VHOST, 0x30, VringFile.size);

/** A descriptor that takes the place of none: unbinds. */
const NO_FD = -1;
/** What the kernel must know of; everything else a driver negotiates concerns the tap alone. */
const RING_FEATURES = features(
  Feature.VERSION_1,
  Feature.RING_EVENT_IDX,
  Feature.RING_INDIRECT_DESC,
  NetFeature.MRG_RXBUF,
);

export class VhostNet implements NetKernelBackend {
  readonly #fd: number;
  readonly #tapFd: number;
  readonly #memory: GuestMemory;
  readonly #offered: Features;
  #rings: readonly KernelRing[] = [];

  /** `tapFd` is the pair's queue of the tap. Returns null where there is no vhost-net to be had. Throws SystemError when it has one but refuses. */
  static open(memory: GuestMemory, tapFd: number): VhostNet | null {
    const fd = tryOpen(DEVICE, O_RDWR);
    if (fd < 0) return null;
    try {
      return new VhostNet(fd, memory, tapFd);
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  private constructor(fd: number, memory: GuestMemory, tapFd: number) {
    this.#fd = fd;
    this.#tapFd = tapFd;
    this.#memory = memory;
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

  supports(driverFeatures: Features): boolean {
    const { low, high } = ringFeatures(driverFeatures);
    return (low & ~this.#offered.low) === 0 && (high & ~this.#offered.high) === 0;
  }

  start(rings: readonly KernelRing[], driverFeatures: Features): boolean {
    const { low, high } = ringFeatures(driverFeatures);
    const accepted =
      tryIoctl(this.#fd, VHOST_SET_FEATURES, new Uint32Array([low, high])) >= 0 &&
      rings.every((ring, index) => this.#setUp(ring, index));
    // Bound last, when everything else is in place.
    const started = accepted && rings.every((_, index) => this.#bind(index, this.#tapFd));
    if (started) this.#rings = rings;
    else rings.forEach((_, index) => void this.#bind(index, NO_FD));
    return started;
  }

  stop(): readonly number[] {
    const stopped = this.#rings.map((_, index) => {
      this.#bind(index, NO_FD); // waits until the kernel has left the ring alone
      const state = VringState.encode({ index });
      ioctl(this.#fd, VHOST_GET_VRING_BASE, state, "VHOST_GET_VRING_BASE");
      return VringState.decode(state).num;
    });
    this.#rings.forEach((_, index) => {
      this.#setFile(VHOST_SET_VRING_KICK, index, NO_FD);
      this.#setFile(VHOST_SET_VRING_CALL, index, NO_FD);
    });
    this.#rings = [];
    return stopped;
  }

  kick(queue: number): void {
    const ring = this.#rings[queue];
    if (ring !== undefined) signalEventFd(ring.kickFd);
  }

  setCallFd(queue: number, callFd: number): void {
    this.#setFile(VHOST_SET_VRING_CALL, queue, callFd);
  }

  close(): void {
    close(this.#fd);
  }

  #setUp(ring: KernelRing, index: number): boolean {
    const address = VringAddress.encode({
      index,
      descUserAddr: this.#memory.hostAddress(ring.descriptorTable),
      usedUserAddr: this.#memory.hostAddress(ring.usedRing),
      availUserAddr: this.#memory.hostAddress(ring.availableRing),
    });
    return (
      tryIoctl(this.#fd, VHOST_SET_VRING_NUM, VringState.encode({ index, num: ring.size })) >= 0 &&
      tryIoctl(this.#fd, VHOST_SET_VRING_BASE, VringState.encode({ index, num: ring.nextAvailable })) >= 0 &&
      tryIoctl(this.#fd, VHOST_SET_VRING_ADDR, address) >= 0 &&
      this.#setFile(VHOST_SET_VRING_KICK, index, ring.kickFd) &&
      this.#setFile(VHOST_SET_VRING_CALL, index, ring.callFd)
    );
  }

  #bind(index: number, fd: number): boolean {
    return this.#setFile(VHOST_NET_SET_BACKEND, index, fd);
  }

  #setFile(request: number, index: number, fd: number): boolean {
    return tryIoctl(this.#fd, request, VringFile.encode({ index, fd })) >= 0;
  }
}

function ringFeatures(driver: Features): Features {
  return {
    low: (driver.low & RING_FEATURES.low) >>> 0,
    high: (driver.high & RING_FEATURES.high) >>> 0,
  };
}
