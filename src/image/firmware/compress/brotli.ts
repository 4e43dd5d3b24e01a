/**
 * Brotli data as firmware sections hold them: sizes, then the stream. Only unpacked: how much memory edk2's decoder needs has
 * to be in the header, and depends on what a packer did.
 */
import { brotliCompressSync, brotliDecompressSync } from "node:zlib";
import { ThimbleError } from "../../../base/errors.ts";
import { packed, u64 } from "../../../base/layout.ts";

export const brotliHeader = packed(
  "Brotli header",
  "edk2, BrotliCustomDecompressLib, BrotliUefiDecompressGetInfo",
  {
    unpackedBytes: u64,
    scratchBytes: u64,
  },
);

/** How many bytes the data say they unpack to. Errors: `bad_compressed_data`. */
export function brotliUnpackedBytes(data: Uint8Array): number {
  if (data.length >= brotliHeader.size) return brotliHeader.decode(data).unpackedBytes;
  throw new ThimbleError("bad_compressed_data", `${data.length} bytes are too few for Brotli data.`);
}

/** Unpacks a section's data, to at most so many bytes. Errors: `bad_compressed_data`. */
export function brotliDecode(data: Uint8Array, unpackedBytesMax: number): Uint8Array {
  const claimed = brotliUnpackedBytes(data);
  const bad = (why: string): ThimbleError => new ThimbleError("bad_compressed_data", `Brotli data ${why}.`);
  if (claimed > unpackedBytesMax) {
    throw bad(`claim to unpack to ${claimed} bytes; ${unpackedBytesMax} are allowed here`);
  }
  let unpacked: Buffer;
  try {
    const maxOutputLength = Math.max(claimed, 1);
    unpacked = brotliDecompressSync(data.subarray(brotliHeader.size), { maxOutputLength });
  } catch (error) {
    throw bad(`can't be unpacked: ${(error as Error).message}`);
  }
  if (unpacked.length !== claimed) {
    throw bad(`unpack to ${unpacked.length} bytes, but their header says ${claimed}`);
  }
  return new Uint8Array(unpacked);
}

/** About how many bytes these take in a section. */
export function brotliLength(bytes: Uint8Array): number {
  return brotliHeader.size + brotliCompressSync(bytes).length;
}
