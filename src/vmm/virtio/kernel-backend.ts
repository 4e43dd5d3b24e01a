/** A vhost device as a virtio device sees it. */
import type { Features, KernelRing } from "./device.ts";

/** Runs queues in the kernel. Rings are numbered by their place in `start`'s array. */
export interface KernelBackend {
  /** Whether it can work with what the driver negotiated (asked before DRIVER_OK takes effect). */
  supports(driverFeatures: Features): boolean;
  /** Starts the rings [receive, transmit]. False when the kernel refuses: nothing of it runs then. */
  start(rings: readonly KernelRing[], driverFeatures: Features): boolean;
  /** Stops them; returns, ring by ring, where in the available ring the kernel stopped. No memory is touched after. */
  stop(): readonly number[];
  /** The driver rang in a way the kernel did not see. */
  kick(queue: number): void;
  /** The eventfd that interrupts for a queue is another; -1: none any more. */
  setCallFd(queue: number, callFd: number): void;
}
