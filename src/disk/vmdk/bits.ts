/** The sparse extent of VMDK images by the names of "Virtual Disk Format 5.0" (VMware), hosted sparse extents. */
import { bytes, packed, u8, u16, u32, u64 } from "../../base/layout.ts";

/** "KDMV" */
export const VMDK_MAGIC = 0x564d_444b;

export const SparseExtentHeader = packed(
  "SparseExtentHeader",
  "Virtual Disk Format 5.0, Hosted Sparse Extent Header",
  {
    magicNumber: u32,
    version: u32,
    flags: u32,
    capacity: u64,
    grainSize: u64,
    descriptorOffset: u64,
    descriptorSize: u64,
    numGTEsPerGT: u32,
    rgdOffset: u64,
    /** GD_AT_END as two dwords: it is no number that JavaScript has. */
    gdOffsetLow: u32,
    gdOffsetHigh: u32,
    overHead: u64,
    uncleanShutdown: u8,
    /** "\n \r\n": tells a file that went through a text transfer. */
    lineEnds: bytes(4),
    compressAlgorithm: u16,
    pad: bytes(433),
  },
);

export const LINE_ENDS = Uint8Array.of(0x0a, 0x20, 0x0d, 0x0a);

export const ExtentFlag = {
  validNewLine: 1 << 0,
  redundantGrainTable: 1 << 1,
  compressedGrains: 1 << 16,
  markers: 1 << 17,
} as const;

/** compressAlgorithm */
export const COMPRESSION_DEFLATE = 1;
/** In both dwords of gdOffset: the header is repeated in a footer at the file's end, which knows. */
export const GD_AT_END = 0xffff_ffff;

export const SECTOR = 512;
export const GTES_PER_GT = 512;
/** Sectors of a grain: 64 KiB, as everybody has them. */
export const GRAIN_SECTORS = 128;
/** Grains are a power of two of at least 8 sectors. */
export const GRAIN_SECTORS_MIN = 8;
export const GRAIN_SECTORS_MAX = 32_768;

/** What stands before a compressed grain: where it belongs, and how many bytes follow. */
export const GrainMarker = packed("grain marker", "Virtual Disk Format 5.0, Markers", {
  lba: u64,
  size: u32,
});

/** A marker with size 0, which fills a sector: `val` sectors of something of this type follow. */
export const MetadataMarker = packed("metadata marker", "Virtual Disk Format 5.0, Markers", {
  val: u64,
  size: u32,
  type: u32,
});
export const MarkerType = { endOfStream: 0, grainTable: 1, grainDirectory: 2, footer: 3 } as const;
