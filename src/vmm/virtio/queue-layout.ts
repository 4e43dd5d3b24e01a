/** Where a split virtqueue lies in guest memory, and the check that it can lie there: virtio 1.2, 2.7. */
import type { GuestMemory } from "../memory/guest-memory.ts";
import { Descriptor } from "./bits.ts";
import { availableBytes, openArea, type RingArea, usedBytes } from "./ring-area.ts";

/** Where the driver put a queue. */
export interface QueueLayout {
  /** A power of two, at most the queue's largest size. */
  readonly size: number;
  readonly descriptorTable: number;
  readonly availableRing: number;
  readonly usedRing: number;
}

export interface QueueOptions {
  readonly eventIndex: boolean;
  readonly indirect: boolean;
}

/** The areas of a queue, or why they cannot be used. */
export function openRings(
  memory: GuestMemory,
  layout: QueueLayout,
  maxSize: number,
): { descriptors: RingArea; available: RingArea; used: RingArea } | string {
  const { size } = layout;
  if (size < 1 || size > maxSize || (size & (size - 1)) !== 0) return `a size of ${size}`;
  const descriptors = openArea(memory, layout.descriptorTable, size * Descriptor.size, 16);
  const available = openArea(memory, layout.availableRing, availableBytes(size), 2);
  const used = openArea(memory, layout.usedRing, usedBytes(size), 4);
  if (descriptors === null) return "a descriptor table that is misaligned or outside RAM";
  if (available === null) return "an available ring that is misaligned or outside RAM";
  if (used === null) return "a used ring that is misaligned or outside RAM";
  return { descriptors, available, used };
}
