/** Changes to the files of firmware volumes. Each gives a new tree. */
import { ThimbleError } from "../../base/errors.ts";
import { assembleFile, assembleSections } from "./assemble.ts";
import {
  FILE_ATTRIBUTE_CHECKSUM,
  FILE_STATE_VALID,
  FILE_TYPE_APPLICATION,
  FILE_TYPE_PAD,
  fileHeader,
  PAD_FILE_NAME,
  SECTION_TYPE_PE32,
} from "./format.ts";
import type { Guid } from "./guid.ts";
import type { FirmwareFile, FirmwareImage } from "./tree.ts";
import { editVolumes } from "./walk.ts";

/** A pad file as long as `file`: what comes after it stays where it is, as code that runs in place must. */
function padInsteadOf(file: FirmwareFile): FirmwareFile {
  const contentBytes = assembleFile(file).length - fileHeader.size;
  return {
    name: PAD_FILE_NAME,
    type: FILE_TYPE_PAD,
    attributes: 0,
    state: FILE_STATE_VALID,
    content: new Uint8Array(contentBytes).fill(0xff),
  };
}

/** Replaces the files for which `chosen` says so by pad files of the same size. */
export function replaceWithPads(
  image: FirmwareImage,
  chosen: (file: FirmwareFile) => boolean,
): FirmwareImage {
  return editVolumes(image, (volume) => {
    if (!volume.files.some(chosen)) return volume.files;
    return volume.files.map((file) => (chosen(file) ? padInsteadOf(file) : file));
  });
}

/** An application's file: one PE32 section. */
export function applicationFile(name: Guid, pe: Uint8Array): FirmwareFile {
  return {
    name,
    type: FILE_TYPE_APPLICATION,
    attributes: FILE_ATTRIBUTE_CHECKSUM,
    state: FILE_STATE_VALID,
    content: [{ kind: "leaf", type: SECTION_TYPE_PE32, longHeader: false, data: pe }],
  };
}

/**
 * Puts `replacement` in the volume that holds the file `name`: a pad file where that was, the new file after the last.
 * Errors: `firmware_file_not_found` unless exactly one volume holds such a file.
 */
export function replaceFile(image: FirmwareImage, name: Guid, replacement: FirmwareFile): FirmwareImage {
  let replaced = 0;
  const edited = editVolumes(image, (volume) => {
    if (!volume.files.some((file) => file.name === name)) return volume.files;
    replaced++;
    return [...volume.files.map((file) => (file.name === name ? padInsteadOf(file) : file)), replacement];
  });
  if (replaced !== 1) {
    throw new ThimbleError(
      "firmware_file_not_found",
      `Expected one firmware volume with the file ${name}, found ${replaced}.`,
    );
  }
  return edited;
}

/** How many bytes a file of this content takes. */
export function fileSizeBytes(file: FirmwareFile): number {
  const body = file.content instanceof Uint8Array ? file.content : assembleSections(file.content);
  return fileHeader.size + body.length;
}
