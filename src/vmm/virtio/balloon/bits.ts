/** Numbers and layouts of the memory balloon device: virtio 1.2, 5.5. */
import { packed, u16, u32, u64 } from "../../../base/layout.ts";

/** No PCI class fits. */
export const BALLOON_CLASS_CODE = 0xff_00_00;

/** Feature bits (5.5.3). */
export const BalloonFeature = { STATS_VQ: 1, DEFLATE_ON_OOM: 2, PAGE_POISON: 4, PAGE_REPORTING: 5 } as const;

/** struct virtio_balloon_config (5.5.4). */
export const BalloonConfig = packed("virtio_balloon_config", "virtio 1.2, 5.5.4", {
  num_pages: u32,
  actual: u32,
  free_page_hint_cmd_id: u32,
  poison_val: u32,
});

/** Pages are of this size whatever the guest's are (5.5.6). */
export const BALLOON_PAGE_SIZE = 4096;

/**
 * Two queues always, three that come with features (5.5.2). The last need not be where the specification puts them
 * (queues.ts), and Linux gives up when the one for reports has less than 32 entries.
 */
export const QUEUE_SIZES = [16, 16, 32, 32, 32] as const;

/** struct virtio_balloon_stat (5.5.6.3). */
export const BalloonStat = packed("virtio_balloon_stat", "virtio 1.2, 5.5.6.3", { tag: u16, val: u64 });

/** Tags by number (5.5.6.4), called as the API calls them. */
export const STATISTICS = [
  "swappedInBytes",
  "swappedOutBytes",
  "majorFaults",
  "minorFaults",
  "freeBytes",
  "totalBytes",
  "availableBytes",
  "cachesBytes",
  "hugePagesAllocated",
  "hugePagesRefused",
] as const;

/** More than any driver knows; further ones are not read. */
export const STATISTICS_PER_BUFFER = 32;

/** Page numbers of one buffer that are looked at: drivers send 256, or 1024. */
export const PAGES_PER_BUFFER = 2048;
/** Pages, and buffers, served in one call before other events have their turn. */
export const PAGES_PER_CALL = 2048;
