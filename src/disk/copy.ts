/** From one image to another. */
import type { DiskImage } from "./image-file.ts";

const PIECE_BYTES = 1024 * 1024;
/** What is zero in pieces of this size is not written. */
const GRAIN_BYTES = 64 * 1024;

/**
 * Copies what is not zero into an empty image of at least the same size, and flushes it. `onProgress` gets the bytes that
 * are done.
 */
export function copyDisk(from: DiskImage, to: DiskImage, onProgress: (doneBytes: number) => void): void {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < from.sizeBytes; at += PIECE_BYTES) {
    const piece = buffer.subarray(0, Math.min(PIECE_BYTES, from.sizeBytes - at));
    from.readAt(at, piece);
    for (let start = 0; start < piece.length; ) {
      let end = start;
      while (end < piece.length && !isZero(piece, end, GRAIN_BYTES)) end += GRAIN_BYTES;
      if (end > start) to.writeAt(at + start, piece.subarray(start, Math.min(end, piece.length)));
      start = Math.max(end, start) + GRAIN_BYTES;
    }
    onProgress(at + piece.length);
  }
  to.flush();
}

/** Whether up to `length` bytes from `start` on are all zeroes. `piece` and `start` lie at, and sizes are, multiples of 4. */
export function isZero(piece: Uint8Array, start: number, length: number): boolean {
  const bytes = Math.min(length, piece.length - start);
  const words = new Uint32Array(piece.buffer, piece.byteOffset + start, bytes >> 2);
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  return true;
}
