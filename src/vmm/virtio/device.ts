/**
 * What a virtio device is to its transport, and the transport to it. A device knows queues and its own configuration
 * structure; addresses, interrupts, negotiation and status are the transport's.
 */
import type { GuestPhysical } from "../../base/addresses.ts";
import type { DeviceState } from "../contract.ts";
import type { VirtQueue } from "./queue.ts";

/** The 64 feature bits as two dwords (unsigned). */
export interface Features {
  readonly low: number;
  readonly high: number;
}

export const NO_FEATURES: Features = { low: 0, high: 0 };

/** The features with the given bit numbers. */
export function features(...bits: number[]): Features {
  let low = 0;
  let high = 0;
  for (const bit of bits) {
    if (bit < 32) low |= 1 << bit;
    else high |= 1 << (bit - 32);
  }
  return { low: low >>> 0, high: high >>> 0 };
}

export function hasFeature(set: Features, bit: number): boolean {
  return (((bit < 32 ? set.low : set.high) >>> (bit & 31)) & 1) === 1;
}

/** A queue as a kernel backend (vhost) needs it. Addresses are inside RAM. */
export interface KernelRing {
  readonly index: number;
  readonly size: number;
  readonly descriptorTable: GuestPhysical;
  readonly availableRing: GuestPhysical;
  readonly usedRing: GuestPhysical;
  /** Where the backend starts in the available ring (VHOST_SET_VRING_BASE). */
  readonly nextAvailable: number;
  /** The kernel signals it when the guest rings (VHOST_SET_VRING_KICK). */
  readonly kickFd: number;
  /** The backend signals it to interrupt the guest (VHOST_SET_VRING_CALL). */
  readonly callFd: number;
}

/** What a device may ask of its transport. */
export interface VirtioHost {
  /** Tells the driver that the device configuration changed. Nothing happens before DRIVER_OK. */
  configChanged(): void;
  /** The driver broke a rule: the device stops and asks for a reset. `reason` is for the log. */
  needsReset(reason: string): void;
  /** Runs handleQueue(index) soon, from the main thread: for work cut off to keep a call short. */
  defer(index: number): void;
  /**
   * Gives a queue to a kernel backend: the main thread no longer listens to its doorbell. Null when the queue is not
   * running, or interrupts or doorbells have no eventfd (INTx, no ioeventfd); the device then serves it itself.
   * On reset the device stops the backend in its `reset`; the transport then listens again by itself.
   */
  handOver(index: number): KernelRing | null;
  /** Takes a queue back; `nextAvailable` is where the backend stopped (VHOST_GET_VRING_BASE). */
  takeBack(index: number, nextAvailable: number): void;
}

/**
 * A virtio device. The transport calls `connect` once, then for each driver `activate`, `handleQueue`…, `reset`.
 * No method called on behalf of the guest may throw.
 */
export interface VirtioDevice {
  /** For logs. */
  readonly name: string;
  /** DeviceType, and the PCI class code 0xBBSSPP. */
  readonly deviceType: number;
  readonly classCode: number;
  /** Features of the device type; the transport adds VERSION_1 and those of the ring. */
  readonly features: Features;
  /** The largest size of each queue: powers of two. */
  readonly queueSizes: readonly number[];
  /** Bytes of device configuration; reads beyond give zero. */
  readonly configSize: number;

  connect(host: VirtioHost): void;
  /** Reads 1, 2 or 4 bytes of device configuration; the range lies inside `configSize`. */
  configRead(offset: number, size: number): number;
  configWrite(offset: number, size: number, value: number): void;
  /** Whether the driver's choice makes sense (feature dependencies); absent: always. */
  accepts?(driverFeatures: Features): boolean;
  /** DRIVER_OK: `queues[i]` is null when the driver did not enable queue i. */
  activate(queues: readonly (VirtQueue | null)[], driverFeatures: Features): void;
  /** The driver rang the doorbell of a running queue. */
  handleQueue(index: number): void;
  /** An MSI-X message that `callFd` of a ring handed over delivers has moved to another eventfd (-1: none). */
  callFdChanged?(index: number, callFd: number): void;
  /** Forget the driver. Requests still at a backend are dropped when they complete. */
  reset(): void;
  /**
   * Whether requests of a driver from before `reset` may still touch guest memory: until it is false the transport
   * does not report the reset as done (virtio 1.2, 2.4). Also nothing can be saved meanwhile.
   */
  readonly busy: boolean;
  /** Own state only; queues and negotiation are the transport's. Called while not busy. */
  save(): DeviceState;
  /** Called after `activate` when the state was saved with a running driver. */
  restore(state: DeviceState): void;
}
