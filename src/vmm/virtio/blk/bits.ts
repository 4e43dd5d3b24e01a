/** Names and layouts of the block device: virtio 1.2, 5.2. */
import { bytes, packed, u8, u16, u32, u64 } from "../../../base/layout.ts";

/** Feature bit numbers (5.2.3). */
export const BlkFeature = {
  SIZE_MAX: 1,
  SEG_MAX: 2,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  TOPOLOGY: 10,
  CONFIG_WCE: 11,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
} as const;

/** struct virtio_blk_config (5.2.4). */
export const BlkConfig = packed("virtio_blk_config", "virtio 1.2, 5.2.4", {
  capacity: u64,
  size_max: u32,
  seg_max: u32,
  cylinders: u16,
  heads: u8,
  sectors: u8,
  blk_size: u32,
  physical_block_exp: u8,
  alignment_offset: u8,
  min_io_size: u16,
  opt_io_size: u32,
  writeback: u8,
  unused0: u8,
  num_queues: u16,
  max_discard_sectors: u32,
  max_discard_seg: u32,
  discard_sector_alignment: u32,
  max_write_zeroes_sectors: u32,
  max_write_zeroes_seg: u32,
  write_zeroes_may_unmap: u8,
  unused1: bytes(3),
});

/** The device-readable header of struct virtio_blk_req (5.2.6). */
export const BlkRequestHeader = packed("virtio_blk_req", "virtio 1.2, 5.2.6", {
  type: u32,
  reserved: u32,
  sector: u64,
});

export const BlkRequestType = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
} as const;

export const BlkStatus = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** struct virtio_blk_discard_write_zeroes (5.2.6). */
export const BlkRange = packed("virtio_blk_discard_write_zeroes", "virtio 1.2, 5.2.6", {
  sector: u64,
  num_sectors: u32,
  flags: u32,
});
export const BLK_RANGE_UNMAP = 1;

/** Requests count in sectors of this size whatever the block size is. */
export const SECTOR_SIZE = 512;
/** Bytes of the string that GET_ID returns. */
export const BLK_ID_BYTES = 20;
