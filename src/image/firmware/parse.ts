/**
 * Reads a flash image into a tree: finds the volumes, which may be anywhere, and reads each (read-volume.ts).
 *
 * Nothing is lost: what is damaged or not known stays in the tree as bytes, and is listed as a problem. What was read
 * comes out byte for byte when it is assembled again; that is checked here, and what would not is kept as bytes, too.
 */
import { ThimbleError } from "../../base/errors.ts";
import { assembleVolume } from "./assemble.ts";
import { VOLUME_SIGNATURE, volumeHeader } from "./format.ts";
import { bad, ReadContext, sameBytes } from "./read-context.ts";
import { isVolumeHeader, readVolume } from "./read-volume.ts";
import type { FirmwareImage, Opaque, Volume } from "./tree.ts";

/** Four times the largest flash chip in use on servers. */
export const ROM_BYTES_MAX = 256 * 1024 * 1024;
/** Flash is erased in sectors of this size, so a signature at such a place is a volume's, even a damaged one's. */
const SECTOR_BYTES = 4096;

/**
 * Reads a flash image. What is wrong with it is in the result's `problems`.
 * Errors: `rom_too_large`, `rom_too_complex`, `xz_failed`.
 */
export function parseImage(source: Uint8Array): FirmwareImage {
  if (source.length > ROM_BYTES_MAX) {
    throw new ThimbleError(
      "rom_too_large",
      `${source.length} bytes are over the ${ROM_BYTES_MAX} of any ROM.`,
    );
  }
  const data = new Uint8Array(source); // the tree's own: nodes are views of it
  const context = new ReadContext();
  const parts: (Volume | Opaque)[] = [];
  let opaqueFrom = 0;
  const closeOpaque = (end: number): void => {
    if (end > opaqueFrom) parts.push({ kind: "opaque", data: data.subarray(opaqueFrom, end) });
  };
  for (let at = nextVolume(data, 0); at >= 0; ) {
    const where = `The volume at 0x${at.toString(16)}`;
    const volume = context.attempt(where, () => readTopVolume(data.subarray(at), where, context));
    if (volume === undefined) {
      // Kept as bytes, so that no further volumes are sought in it: its length may well be right.
      const claimed = isVolumeHeader(data, at) ? volumeHeader.decode(data, at).fvLength : 0;
      const end = Math.min(at + Math.max(claimed, volumeHeader.size), data.length);
      closeOpaque(at);
      parts.push({ kind: "opaque", data: data.subarray(at, end) });
      opaqueFrom = end;
    } else {
      closeOpaque(at);
      parts.push(volume);
      opaqueFrom = at + volume.sizeBytes;
    }
    at = nextVolume(data, opaqueFrom);
  }
  closeOpaque(data.length);
  return { parts, problems: context.finish() };
}

/** Where the next volume header is, or looks like one that is damaged; -1 for none. */
function nextVolume(data: Uint8Array, from: number): number {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const before = volumeHeader.offset.signature;
  for (let at = bytes.indexOf(VOLUME_SIGNATURE, from + before); at >= 0; ) {
    const start = at - before;
    if (isVolumeHeader(data, start)) return start;
    if (start % SECTOR_BYTES === 0 && start + volumeHeader.size <= data.length) return start;
    at = bytes.indexOf(VOLUME_SIGNATURE, at + 1);
  }
  return -1;
}

function readTopVolume(data: Uint8Array, where: string, context: ReadContext): Volume {
  const volume = readVolume(data, where, 0, context);
  if (!sameBytes(assembleVolume(volume), data.subarray(0, volume.sizeBytes))) {
    throw bad("it does not come out the same when it is written again.");
  }
  return volume;
}

/** Reads a flash image that must be whole. Errors: `bad_firmware_volume` with the first problem, those of parseImage. */
export function parseWhole(source: Uint8Array): FirmwareImage {
  const image = parseImage(source);
  const [first] = image.problems;
  if (first !== undefined) throw bad(first);
  return image;
}
