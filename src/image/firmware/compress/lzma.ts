/**
 * LZMA-alone data as firmware sections hold it: a 13-byte header with the unpacked size in it, then the stream.
 *
 * xz does the work. It leaves the size out of the header and ends the stream by a marker instead; UEFI's decoder
 * wants the size, and takes a marker after it.
 */
import { spawnSync } from "node:child_process";
import { ThimbleError } from "../../../base/errors.ts";
import { packed, u8, u32, u64 } from "../../../base/layout.ts";

const lzmaHeader = packed("LZMA-alone header", "LZMA SDK, lzma-specification.txt", {
  properties: u8,
  dictionaryBytes: u32,
  unpackedBytes: u64,
});

const DICTIONARY_BYTES_MIN = 4096;
/** Packing in a larger one takes much memory and gains nothing on firmware. */
const PACKING_DICTIONARY_BYTES_MAX = 16 * 1024 * 1024;
/** More than any section takes on a machine of our day; then xz is ended. */
const XZ_MS_MAX = 120_000;

function runXz(args: readonly string[], input: Uint8Array, outputBytesMax: number, what: string): Uint8Array {
  const result = spawnSync("xz", args, { input, maxBuffer: outputBytesMax + 1, timeout: XZ_MS_MAX });
  // xz may refuse its input before it has read all of it; what it says is more telling than the broken pipe.
  if (result.error !== undefined && !(result.status !== null && result.status !== 0)) {
    throw new ThimbleError("xz_failed", `${what}: xz could not be run: ${result.error.message}.`, {
      cause: result.error,
    });
  }
  if (result.status !== 0) {
    throw new ThimbleError("bad_compressed_data", `${what}: xz says: ${result.stderr.toString().trim()}.`);
  }
  return new Uint8Array(result.stdout);
}

/** How many bytes the data say they unpack to. Errors: `bad_compressed_data`. */
export function lzmaUnpackedBytes(data: Uint8Array): number {
  if (data.length >= lzmaHeader.size) return lzmaHeader.decode(data).unpackedBytes;
  throw new ThimbleError("bad_compressed_data", `${data.length} bytes are too few for LZMA data.`);
}

/** Unpacks a section's data, to at most so many bytes. Errors: `bad_compressed_data`, `xz_failed`. */
export function lzmaDecode(data: Uint8Array, unpackedBytesMax: number): Uint8Array {
  const unpackedBytes = lzmaUnpackedBytes(data);
  if (unpackedBytes > unpackedBytesMax) {
    throw new ThimbleError(
      "bad_compressed_data",
      `LZMA data claim to unpack to ${unpackedBytes} bytes; ${unpackedBytesMax} are allowed here.`,
    );
  }
  // Nothing can repeat from before the start, so a dictionary as long as the output does whatever the header says. It
  // bounds xz's memory; xz takes powers of two only.
  const dictionaryBytes = dictionaryFor(unpackedBytes);
  const input = data.slice();
  lzmaHeader.patch(input, 0, { dictionaryBytes });
  const args = ["--format=lzma", "--decompress", "--stdout"];
  const unpacked = runXz(args, input, unpackedBytes, "LZMA data");
  if (unpacked.length !== unpackedBytes) {
    throw new ThimbleError(
      "bad_compressed_data",
      `LZMA data unpack to ${unpacked.length} bytes, but their header says ${unpackedBytes}.`,
    );
  }
  return unpacked;
}

/** The least power of two that reaches over all the data. */
function dictionaryFor(unpackedBytes: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(unpackedBytes, DICTIONARY_BYTES_MIN)));
}

/** Packs a section's data as tightly as xz can. The same input gives the same bytes. Errors: `xz_failed`. */
export function lzmaEncode(data: Uint8Array): Uint8Array {
  // Incompressible data grow by less than a hundredth.
  const outputBytesMax = data.length + Math.ceil(data.length / 64) + 4096;
  const dictionaryBytes = Math.min(dictionaryFor(data.length), PACKING_DICTIONARY_BYTES_MAX);
  const packedData = runXz(
    ["--format=lzma", "--compress", "--stdout", `--lzma1=preset=9e,lc=4,pb=0,dict=${dictionaryBytes}`],
    data,
    outputBytesMax,
    "Packing an LZMA section",
  );
  lzmaHeader.patch(packedData, 0, { unpackedBytes: data.length });
  return packedData;
}
