/** vhost-net as the device sees it. */
import type { Features, KernelRing } from "../device.ts";

/** Runs the two queues of a pair in the kernel. Made with guest memory and the tap's queue. */
export interface NetKernelBackend {
  /** Whether it can work with what the driver negotiated (asked before DRIVER_OK takes effect). */
  supports(driverFeatures: Features): boolean;
  /** Starts the rings [receive, transmit]; the other methods number them like this, whatever their `index` is. False when the kernel refuses: the device then moves packets itself. */
  start(rings: readonly KernelRing[], driverFeatures: Features): boolean;
  /** Stops them; returns, ring by ring, where in the available ring the kernel stopped. No memory is touched after. */
  stop(): readonly number[];
  /** The driver rang in a way the kernel did not see. */
  kick(queue: number): void;
  /** The eventfd that interrupts for a queue is another; -1: none any more. */
  setCallFd(queue: number, callFd: number): void;
}
