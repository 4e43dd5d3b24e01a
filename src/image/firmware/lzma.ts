/**
 * LZMA-alone data as firmware sections hold it: a 13-byte header with the unpacked size in it, then the stream.
 *
 * xz does the work. It leaves the size out of the header and ends the stream by a marker instead; UEFI's decoder
 * wants the size, and takes a marker after it.
 */
import { spawnSync } from "node:child_process";
import { ThimbleError } from "../../base/errors.ts";
import { packed, u8, u32, u64 } from "../../base/layout.ts";

const lzmaHeader = packed("LZMA-alone header", "LZMA SDK, lzma-specification.txt", {
  properties: u8,
  dictionaryBytes: u32,
  unpackedBytes: u64,
});

/** Twice the largest flash chip in use; a larger claim is a broken or hostile header. */
export const UNPACKED_BYTES_MAX = 64 * 1024 * 1024;

function runXz(args: readonly string[], input: Uint8Array, what: string): Uint8Array {
  const result = spawnSync("xz", args, { input, maxBuffer: UNPACKED_BYTES_MAX + 1 });
  if (result.error !== undefined) {
    throw new ThimbleError("xz_failed", `${what}: xz could not be run: ${result.error.message}.`, {
      cause: result.error,
    });
  }
  if (result.status !== 0) {
    throw new ThimbleError("bad_lzma_data", `${what}: xz says: ${result.stderr.toString().trim()}.`);
  }
  return new Uint8Array(result.stdout);
}

/** Unpacks a section's data. Errors: `bad_lzma_data`, `xz_failed`. */
export function lzmaDecode(data: Uint8Array): Uint8Array {
  if (data.length < lzmaHeader.size) {
    throw new ThimbleError("bad_lzma_data", `${data.length} bytes are too few for LZMA data.`);
  }
  const { unpackedBytes } = lzmaHeader.decode(data);
  if (unpackedBytes > UNPACKED_BYTES_MAX) {
    throw new ThimbleError(
      "bad_lzma_data",
      `An LZMA section claims to unpack to ${unpackedBytes} bytes; at most ${UNPACKED_BYTES_MAX} are supported.`,
    );
  }
  const unpacked = runXz(["--format=lzma", "--decompress", "--stdout"], data, "An LZMA section");
  if (unpacked.length !== unpackedBytes) {
    throw new ThimbleError(
      "bad_lzma_data",
      `An LZMA section unpacks to ${unpacked.length} bytes, but its header says ${unpackedBytes}.`,
    );
  }
  return unpacked;
}

/** Packs a section's data as tightly as xz can. The same input gives the same bytes. Errors: `xz_failed`. */
export function lzmaEncode(data: Uint8Array): Uint8Array {
  const packedData = runXz(
    ["--format=lzma", "--compress", "--stdout", "--lzma1=preset=9e,lc=4,pb=0,dict=16MiB"],
    data,
    "Packing an LZMA section",
  );
  lzmaHeader.patch(packedData, 0, { unpackedBytes: data.length });
  return packedData;
}
