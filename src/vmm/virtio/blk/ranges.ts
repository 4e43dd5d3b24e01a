/** What DISCARD and WRITE_ZEROES requests name: virtio 1.2, 5.2.6.2. */
import { BLK_RANGE_UNMAP, BlkRange, BlkStatus } from "./bits.ts";

/** Ranges of one request: each is a call to the backend. */
export const RANGES_MAX = 16;
/** Longest range: 2 GiB. */
export const RANGE_SECTORS_MAX = 1 << 22;

export const RANGE_BYTES_MAX = RANGES_MAX * BlkRange.size;

export type BlkRangeValue = ReturnType<typeof BlkRange.decode>;

/** The ranges in a request's data, all of them checked; or the status that refuses them. */
export function rangesOf(
  discard: boolean,
  bytes: Uint8Array,
  capacitySectors: number,
): BlkRangeValue[] | number {
  const count = bytes.length / BlkRange.size;
  if (!Number.isInteger(count) || count < 1 || count > RANGES_MAX) return BlkStatus.UNSUPP;
  const ranges = Array.from({ length: count }, (_, i) => BlkRange.decode(bytes, i * BlkRange.size));
  for (const range of ranges) {
    // Only write-zeroes has a flag.
    if ((range.flags & ~(discard ? 0 : BLK_RANGE_UNMAP)) !== 0) return BlkStatus.UNSUPP;
    const inside = range.sector + range.num_sectors <= capacitySectors;
    if (!inside || range.num_sectors > RANGE_SECTORS_MAX) return BlkStatus.IOERR;
  }
  return ranges;
}
