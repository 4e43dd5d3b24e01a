/** What is to be known of a balloon; goes through the control protocol as it is. */
import type { STATISTICS } from "./bits.ts";

export interface BalloonStatus {
  /** Whether a driver in the guest serves it. */
  readonly hasDriver: boolean;
  /** How large it is to be, and how large the driver says it is. */
  readonly targetBytes: number;
  readonly actualBytes: number;
  /** What the guest has given back since it was started, by inflating and by reporting free memory; may count pages again. */
  readonly releasedBytes: number;
  /** Absent until the driver has told any. */
  readonly statistics?: GuestMemoryStatistics;
}

/** What the driver told, as far as it did (virtio 1.2, 5.5.6.4), and how long ago that was. */
export type GuestMemoryStatistics = { readonly [K in (typeof STATISTICS)[number]]?: number } & {
  readonly ageMs: number;
};
