/** What a virtio-blk device says of itself: virtio 1.2, 5.2.4. */
import { BlkConfig } from "./bits.ts";
import { RANGE_SECTORS_MAX, RANGES_MAX } from "./ranges.ts";

export const QUEUE_SIZE = 256;
/** Data segments of a request: a chain of the queue's size less header and status. */
const SEG_MAX = QUEUE_SIZE - 2;
/** Longest segment a driver should use, chosen so that SEG_MAX of them stay below the longest request served. */
const SIZE_MAX = 128 * 1024;
/** Discards that are not aligned to 4 KiB free nothing on ordinary filesystems. */
const DISCARD_ALIGNMENT_SECTORS = 8;
/** Physical blocks of 4 KiB, whatever the logical ones are. */
const PHYSICAL_BLOCK_BYTES = 4096;

/** The configuration structure of a disk with so many sectors of 512 bytes and logical blocks of `blockSize` bytes. */
export function blkConfig(capacity: number, blockSize: number, queues: number): Uint8Array<ArrayBuffer> {
  const blocksInPhysical = Math.max(1, PHYSICAL_BLOCK_BYTES / blockSize);
  return BlkConfig.encode({
    capacity,
    size_max: SIZE_MAX,
    seg_max: SEG_MAX,
    blk_size: blockSize,
    physical_block_exp: Math.log2(blocksInPhysical),
    min_io_size: blocksInPhysical,
    writeback: 1,
    num_queues: queues,
    max_discard_sectors: RANGE_SECTORS_MAX,
    max_discard_seg: RANGES_MAX,
    discard_sector_alignment: DISCARD_ALIGNMENT_SECTORS,
    max_write_zeroes_sectors: RANGE_SECTORS_MAX,
    max_write_zeroes_seg: RANGES_MAX,
    write_zeroes_may_unmap: 1,
  });
}
