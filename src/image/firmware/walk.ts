/** Visiting a firmware tree: reading it, and building a changed one. */
import type { Guid } from "./guid.ts";
import type { FirmwareFile, FirmwareImage, Section, Volume } from "./tree.ts";

/** Called in the order of the image; `depth` counts the nodes above. */
export interface Visitor {
  volume?(volume: Volume, depth: number): void;
  file?(file: FirmwareFile, volume: Volume, depth: number): void;
  section?(section: Section, file: FirmwareFile | undefined, depth: number): void;
}

/** Visits every volume, file and section, those in compressed sections included. */
export function visitImage(image: FirmwareImage, visitor: Visitor): void {
  for (const part of image.parts) if (part.kind === "volume") visitVolume(part, visitor, 0);
}

function visitVolume(volume: Volume, visitor: Visitor, depth: number): void {
  visitor.volume?.(volume, depth);
  for (const file of volume.files) {
    visitor.file?.(file, volume, depth + 1);
    if (!(file.content instanceof Uint8Array)) visitSections(file.content, file, visitor, depth + 2);
  }
}

function visitSections(
  sections: readonly Section[],
  file: FirmwareFile | undefined,
  visitor: Visitor,
  depth: number,
): void {
  for (const section of sections) {
    visitor.section?.(section, file, depth);
    if (section.kind === "volume-section") visitVolume(section.volume, visitor, depth + 1);
    if (section.kind === "lzma") visitSections(section.children, undefined, visitor, depth + 1);
  }
}

/** Every file of that name (a GUID), with the volume it is in. Found by structure, never by searching bytes. */
export function findFiles(image: FirmwareImage, name: Guid): { file: FirmwareFile; volume: Volume }[] {
  const found: { file: FirmwareFile; volume: Volume }[] = [];
  visitImage(image, {
    file(file, volume) {
      if (file.name === name) found.push({ file, volume });
    },
  });
  return found;
}

/**
 * Builds a tree in which every volume's files went through `edit`. What `edit` returns unchanged (the same array)
 * is shared with the old tree, so that compressed sections without a change keep their bytes.
 */
export function editVolumes(
  image: FirmwareImage,
  edit: (volume: Volume) => readonly FirmwareFile[],
): FirmwareImage {
  return {
    parts: mapShared(image.parts, (part) => (part.kind === "volume" ? editVolume(part, edit) : part)),
  };
}

function editVolume(volume: Volume, edit: (volume: Volume) => readonly FirmwareFile[]): Volume {
  const inner = mapShared(volume.files, (file) => {
    if (file.content instanceof Uint8Array) return file;
    const content = editSections(file.content, edit);
    return content === file.content ? file : { ...file, content };
  });
  const files = edit(inner === volume.files ? volume : { ...volume, files: inner });
  return files === volume.files ? volume : { ...volume, files };
}

function editSections(
  sections: readonly Section[],
  edit: (volume: Volume) => readonly FirmwareFile[],
): readonly Section[] {
  return mapShared(sections, (section): Section => {
    if (section.kind === "volume-section") {
      const volume = editVolume(section.volume, edit);
      return volume === section.volume ? section : { ...section, volume };
    }
    if (section.kind === "lzma") {
      const children = editSections(section.children, edit);
      if (children === section.children) return section;
      const { compressed: _, ...rest } = section;
      return { ...rest, children };
    }
    return section;
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
