/** Visiting a firmware tree. */
import type { Guid } from "./guid.ts";
import type { FirmwareFile, FirmwareImage, Section, Volume } from "./tree.ts";

/** Called in the order of the image; `depth` counts the nodes above. */
export interface Visitor {
  volume?(volume: Volume, depth: number): void;
  file?(file: FirmwareFile, volume: Volume, depth: number): void;
  section?(section: Section, file: FirmwareFile | undefined, depth: number): void;
}

/** Visits every volume, file and section, those in compressed sections included. */
export function visitImage(image: Pick<FirmwareImage, "parts">, visitor: Visitor): void {
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
    if (section.kind === "encapsulation") visitSections(section.children, undefined, visitor, depth + 1);
  }
}

/** Every file of that name (a GUID), with the volume it is in. Found by structure, never by searching bytes. */
export function findFiles(
  image: Pick<FirmwareImage, "parts">,
  name: Guid,
): { file: FirmwareFile; volume: Volume }[] {
  const found: { file: FirmwareFile; volume: Volume }[] = [];
  visitImage(image, {
    file(file, volume) {
      if (file.name === name) found.push({ file, volume });
    },
  });
  return found;
}
