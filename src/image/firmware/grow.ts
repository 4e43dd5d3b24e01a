/**
 * Makes a volume larger that lies in a compressed section, where its size is not that of a piece of flash. The DXE phase
 * takes such a volume's length from its header.
 */
import { ThimbleError } from "../../base/errors.ts";
import { alignUp, blockMapEntry, sum16, VOLUME_TOP_FILE, volumeHeader } from "./format.ts";
import type { Volume } from "./tree.ts";

/** Errors: `volume_not_growable` for volumes whose end is more than the end of their free space. */
export function growVolume(volume: Volume, bytes: number): Volume {
  const refuse = (why: string): ThimbleError =>
    new ThimbleError("volume_not_growable", `The volume inside the compressed section can't grow: ${why}.`);
  if (volume.tail !== undefined) throw refuse("it has data after its last file");
  if (volume.files.at(-1)?.name === VOLUME_TOP_FILE) throw refuse("a file has to be at its end");
  const header = volumeHeader.decode(volume.prologue);
  const first = blockMapEntry.decode(volume.prologue, volumeHeader.size);
  const second = blockMapEntry.decode(volume.prologue, volumeHeader.size + blockMapEntry.size);
  const uniform = second.numBlocks === 0 && second.length === 0 && first.length > 0;
  if (!uniform || first.numBlocks * first.length !== volume.sizeBytes) {
    throw refuse("its blocks are not of one size");
  }
  const sizeBytes = alignUp(volume.sizeBytes + bytes, first.length);
  const prologue = volume.prologue.slice();
  blockMapEntry.patch(prologue, volumeHeader.size, { numBlocks: sizeBytes / first.length });
  volumeHeader.patch(prologue, 0, { fvLength: sizeBytes, checksum: 0 });
  const checksum = -sum16(prologue.subarray(0, header.headerLength)) & 0xffff;
  volumeHeader.patch(prologue, 0, { checksum });
  return { ...volume, prologue, sizeBytes };
}
