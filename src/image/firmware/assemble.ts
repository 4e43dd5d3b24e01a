/**
 * Writes a tree as a flash image. A tree that was read and not changed gives the bytes it was read from: everything is
 * computed anew except compressed data whose content is unchanged.
 */
import { ThimbleError } from "../../base/errors.ts";
import { encodeSections } from "./codecs.ts";
import {
  alignUp,
  concatBytes,
  FILE_ALIGNMENT_BYTES,
  FILE_ATTRIBUTE_CHECKSUM,
  FILE_ATTRIBUTE_LARGE,
  FILE_FIXED_CHECKSUM,
  fileExtendedSize,
  fileHeader,
  guidedSection,
  SECTION_ALIGNMENT_BYTES,
  SECTION_TYPE_GUIDED,
  SIZE_24_MAX,
  sectionExtendedSize,
  sectionHeader,
  sum8,
} from "./format.ts";
import type { FirmwareFile, FirmwareImage, Section, Volume } from "./tree.ts";

/** The bytes of a flash image. Errors: `volume_full`. */
export function assembleImage(image: Pick<FirmwareImage, "parts">): Uint8Array {
  return concatBytes(image.parts.map((part) => (part.kind === "opaque" ? part.data : assembleVolume(part))));
}

/** Where the files of these lengths, placed one after another, end. */
function filesEnd(volume: Volume, lengths: readonly number[]): number {
  let end = volume.prologue.length;
  for (const length of lengths) end = alignUp(end, FILE_ALIGNMENT_BYTES) + length;
  return end;
}

/** Bytes after the last file of a volume that are erased. Negative: so much too little. */
export function freeBytes(volume: Volume): number {
  if (volume.tail !== undefined) return 0;
  return volume.sizeBytes - filesEnd(volume, volume.files.map(fileLength));
}

/** Errors: `volume_full` with the numbers. */
export function assembleVolume(volume: Volume): Uint8Array {
  const files = volume.files.map(assembleFile);
  const end = filesEnd(
    volume,
    files.map((file) => file.length),
  );
  const tailAt = volume.tail === undefined ? end : alignUp(end, FILE_ALIGNMENT_BYTES);
  const over = tailAt + (volume.tail?.length ?? 0) - volume.sizeBytes;
  if (over > 0) {
    throw new ThimbleError(
      "volume_full",
      `The files of a firmware volume need ${over} bytes more than its ${volume.sizeBytes}.`,
    );
  }
  const out = new Uint8Array(volume.sizeBytes).fill(volume.eraseByte);
  out.set(volume.prologue);
  let at = volume.prologue.length;
  for (const [index, bytes] of files.entries()) {
    at = alignUp(at, FILE_ALIGNMENT_BYTES);
    out.set(bytes, at);
    at += bytes.length;
    const gap = volume.files[index]?.gap;
    if (gap !== undefined) out.set(gap, at);
  }
  if (volume.tail !== undefined) out.set(volume.tail, tailAt);
  return out;
}

/** How long a file's header is. */
export function fileHeaderBytes(file: Pick<FirmwareFile, "attributes">): number {
  return fileHeader.size + ((file.attributes & FILE_ATTRIBUTE_LARGE) === 0 ? 0 : fileExtendedSize.size);
}

/** How many bytes a file takes, without the padding after it. */
export function fileLength(file: FirmwareFile): number {
  const { content } = file;
  return fileHeaderBytes(file) + (content instanceof Uint8Array ? content.length : sectionsLength(content));
}

/** A file's bytes without the padding after it. */
export function assembleFile(file: FirmwareFile): Uint8Array {
  const body = file.content instanceof Uint8Array ? file.content : assembleSections(file.content);
  const large = (file.attributes & FILE_ATTRIBUTE_LARGE) !== 0;
  const headerBytes = fileHeaderBytes(file);
  const sizeBytes = headerBytes + body.length;
  if (!large && sizeBytes > SIZE_24_MAX) {
    throw new ThimbleError(
      "file_too_large",
      `Firmware file ${file.name}: ${sizeBytes} bytes need FFS3's long form.`,
    );
  }
  const out = new Uint8Array(sizeBytes);
  const { name, type, attributes } = file;
  // A large file's own size field may hold anything; edk2 writes 0.
  fileHeader.patch(out, 0, { name, type, attributes, sizeBytes: large ? 0 : sizeBytes });
  if (large) fileExtendedSize.patch(out, fileHeader.size, { extendedSize: sizeBytes });
  // State and file checksum count as zero, which they still are.
  const headerChecksum = -sum8(out.subarray(0, headerBytes)) & 0xff;
  const computed = (attributes & FILE_ATTRIBUTE_CHECKSUM) === 0 ? FILE_FIXED_CHECKSUM : -sum8(body) & 0xff;
  fileHeader.patch(out, 0, {
    headerChecksum,
    fileChecksum: file.storedChecksum ?? computed,
    state: file.state,
  });
  out.set(body, headerBytes);
  return out;
}

/** Bytes between a section that ends at `end` and what comes next. */
function paddingAfter(section: Section, end: number, isLast: boolean): number {
  if (section.gap !== undefined) return section.gap.length;
  return isLast ? 0 : alignUp(end, SECTION_ALIGNMENT_BYTES) - end;
}

/** Sections one after another, each at a multiple of four. */
export function assembleSections(sections: readonly Section[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  let end = 0;
  for (const [index, section] of sections.entries()) {
    const bytes = assembleSection(section);
    end += bytes.length;
    const padding = paddingAfter(section, end, index === sections.length - 1);
    pieces.push(bytes, section.gap ?? new Uint8Array(padding));
    end += padding;
  }
  return concatBytes(pieces);
}

/** Where a section is among its neighbours. */
export interface SectionPlace {
  readonly start: number;
  readonly sizeBytes: number;
  readonly headerBytes: number;
}

/** Where sections start and end when they follow one another. Packs what is not packed yet. */
export function sectionPlaces(sections: readonly Section[]): SectionPlace[] {
  let start = 0;
  return sections.map((section, index) => {
    const packed = packSection(section);
    const body = bodyLength(packed);
    const headerBytes = sectionHeaderBytes(packed, body);
    const place = { start, sizeBytes: headerBytes + body, headerBytes };
    const end = start + place.sizeBytes;
    start = end + paddingAfter(section, end, index === sections.length - 1);
    return place;
  });
}

/** The length of assembleSections' result. */
function sectionsLength(sections: readonly Section[]): number {
  const last = sectionPlaces(sections).at(-1);
  return last === undefined ? 0 : last.start + last.sizeBytes + (sections.at(-1)?.gap?.length ?? 0);
}

function bodyLength(section: Section): number {
  if (section.kind === "leaf") return section.data.length;
  if (section.kind === "volume-section") return section.volume.sizeBytes;
  return section.header.length + (section.stored?.length ?? 0);
}

function sectionHeaderBytes(section: Section, bodyBytes: number): number {
  const long = section.longHeader || sectionHeader.size + bodyBytes >= SIZE_24_MAX;
  return sectionHeader.size + (long ? sectionExtendedSize.size : 0);
}

function assembleSection(section: Section): Uint8Array {
  const body = sectionBody(section);
  const headerBytes = sectionHeaderBytes(section, body.length);
  const long = headerBytes > sectionHeader.size;
  const out = new Uint8Array(headerBytes + body.length);
  sectionHeader.patch(out, 0, { type: section.type, sizeBytes: long ? SIZE_24_MAX : out.length });
  if (long) sectionExtendedSize.patch(out, sectionHeader.size, { extendedSize: out.length });
  out.set(body, headerBytes);
  if (section.kind === "encapsulation" && section.type === SECTION_TYPE_GUIDED) {
    guidedSection.patch(out, headerBytes, { dataOffset: headerBytes + section.header.length });
  }
  return out;
}

/** What follows the section header. */
function sectionBody(section: Section): Uint8Array {
  switch (section.kind) {
    case "leaf":
      return section.data;
    case "volume-section":
      return assembleVolume(section.volume);
    case "encapsulation": {
      if (section.stored !== undefined) return concatBytes([section.header, section.stored]);
      const { header, data } = encodeSections(section, assembleSections(section.children));
      return concatBytes([header, data]);
    }
  }
}

/** A section with its children packed, so that its size can be asked without packing again. */
export function packSection(section: Section): Section {
  if (section.kind !== "encapsulation" || section.stored !== undefined) return section;
  const { header, data } = encodeSections(section, assembleSections(section.children));
  return { ...section, header, stored: data };
}
