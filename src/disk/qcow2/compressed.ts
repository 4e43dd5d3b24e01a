/** Compressed clusters of qcow2 images. */
import { ThimbleError } from "../../base/errors.ts";
import { inflate } from "../../base/inflate.ts";

const HIGH_DWORD = 0x1_0000_0000;
const SECTOR = 512;

/**
 * Where an L2 entry's data are (qcow2.txt, Compressed Clusters Descriptor): x = 62 - (cluster_bits - 8) bits of offset,
 * then sectors beyond the first. May lie outside the file.
 */
export function compressedRange(
  clusterBits: number,
  high: number,
  low: number,
): { readonly offset: number; readonly length: number } {
  const offsetHighBits = 30 - (clusterBits - 8);
  const offset = (high & (2 ** offsetHighBits - 1)) * HIGH_DWORD + low;
  const sectors = ((high & 0x3fff_ffff) >>> offsetHighBits) + 1;
  return { offset, length: sectors * SECTOR - (offset % SECTOR) };
}

/** Throws ThimbleError("bad_image"). */
export function unpackCluster(packed: Uint8Array, clusterBytes: number): Uint8Array {
  const target = new Uint8Array(clusterBytes);
  try {
    inflate(packed, target);
  } catch (error) {
    throw new ThimbleError("bad_image", "A compressed cluster of the disk image is damaged.", {
      cause: error,
    });
  }
  return target;
}
