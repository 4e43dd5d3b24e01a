/** Changes to a firmware tree: modules given up, a file put in. Each gives a new tree that shares what did not change. */
import { ThimbleError } from "../../base/errors.ts";
import { fileLength, packSection } from "./assemble.ts";
import {
  FILE_ATTRIBUTE_CHECKSUM,
  FILE_STATE_VALID,
  FILE_TYPE_APPLICATION,
  SECTION_TYPE_GUIDED,
  SECTION_TYPE_PE32,
} from "./format.ts";
import { growVolume } from "./grow.ts";
import type { Guid } from "./guid.ts";
import { changeFiles, padFile, VolumeFullError } from "./place.ts";
import type { FirmwareFile, FirmwareImage, Section, Volume } from "./tree.ts";

export interface Edit {
  /** Whether a file is given up: a pad file of the same size takes its place, so that nothing else moves. */
  readonly drops?: (file: FirmwareFile, volume: Volume) => boolean;
  /** A file to put in, and the volume of the tree that it goes into. */
  readonly addition?: { readonly volume: Volume; readonly file: FirmwareFile };
}

/** An application's file: one PE32 section. */
export function applicationFile(name: Guid, pe: Uint8Array, eraseByte = 0xff): FirmwareFile {
  return {
    name,
    type: FILE_TYPE_APPLICATION,
    attributes: FILE_ATTRIBUTE_CHECKSUM,
    state: (FILE_STATE_VALID ^ 0xff ^ eraseByte) & 0xff,
    content: [{ kind: "leaf", type: SECTION_TYPE_PE32, longHeader: false, data: pe }],
  };
}

/**
 * The changed tree. Compressed sections with a change are packed anew. A volume in a compressed section grows when it has
 * no room; one that is a piece of flash does not.
 * Errors: `volume_full` with the numbers, `volume_not_growable`, `signed_section`, `file_too_large`, `xz_failed`.
 */
export function editImage(image: FirmwareImage, edit: Edit): FirmwareImage {
  return {
    ...image,
    parts: mapShared(image.parts, (part) => (part.kind === "volume" ? editVolume(part, edit, false) : part)),
  };
}

function editVolume(volume: Volume, edit: Edit, growable: boolean): Volume {
  const replaced = new Map<number, FirmwareFile>();
  for (const [index, file] of volume.files.entries()) {
    if (edit.drops?.(file, volume) === true) {
      replaced.set(index, padFile(fileLength(file), volume.eraseByte));
    } else if (!(file.content instanceof Uint8Array)) {
      const content = editSections(file.content, edit, growable);
      const { gap: _, ...whole } = file; // what was between it and the next file fitted its old length
      if (content !== file.content) replaced.set(index, { ...whole, content });
    }
  }
  const added = edit.addition?.volume === volume ? [edit.addition.file] : [];
  if (replaced.size === 0 && added.length === 0) return volume;
  try {
    return changeFiles(volume, { replaced, added });
  } catch (error) {
    if (!growable || !(error instanceof VolumeFullError)) throw error;
    return changeFiles(growVolume(volume, error.missingAtEndBytes), { replaced, added });
  }
}

function editSections(sections: readonly Section[], edit: Edit, growable: boolean): readonly Section[] {
  return mapShared(sections, (section): Section => {
    if (section.kind === "volume-section") {
      const volume = editVolume(section.volume, edit, growable);
      if (volume.sizeBytes === section.volume.sizeBytes) {
        return volume === section.volume ? section : { ...section, volume };
      }
      const { gap: _, ...grown } = section;
      return { ...grown, volume };
    }
    if (section.kind !== "encapsulation") return section;
    const compressed = section.codec !== "plain" && section.codec !== "crc32";
    const children = editSections(section.children, edit, growable || compressed);
    if (children === section.children) return section;
    if (section.codec === "plain" && section.type === SECTION_TYPE_GUIDED) {
      throw new ThimbleError(
        "signed_section",
        "What has to change is in a section of a kind that is not known, probably a signed one.",
      );
    }
    const { stored: _, gap: __, ...changed } = section;
    return packSection({ ...changed, children });
  });
}

/** Like map, but gives back the same array when no element changed. */
function mapShared<T>(items: readonly T[], change: (item: T) => T): readonly T[] {
  let changed = false;
  const out = items.map((item) => {
    const next = change(item);
    if (next !== item) changed = true;
    return next;
  });
  return changed ? out : items;
}
