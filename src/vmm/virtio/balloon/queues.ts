/**
 * Which queue serves what. Virtio 1.2 (5.5.2) numbers all five queues whatever was negotiated; Linux and QEMU leave
 * those out that no feature asks for and number the rest in order. Both enable just the queues they use, so counting
 * those gives the same answer for both.
 */
import { type Features, hasFeature } from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { BalloonFeature } from "./bits.ts";

export type BalloonRole = "inflate" | "deflate" | "statistics" | "reporting";

/** What each queue serves, by its index; null for one that is not used. */
export function assignRoles(
  queues: readonly (VirtQueue | null)[],
  driverFeatures: Features,
): (BalloonRole | null)[] {
  const roles: BalloonRole[] = ["inflate", "deflate"];
  if (hasFeature(driverFeatures, BalloonFeature.STATS_VQ)) roles.push("statistics");
  if (hasFeature(driverFeatures, BalloonFeature.PAGE_REPORTING)) roles.push("reporting");
  let next = 0;
  return queues.map((queue) => (queue === null ? null : (roles[next++] ?? null)));
}
