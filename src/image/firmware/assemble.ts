/**
 * Writes a tree as a flash image. A tree that was read and not changed gives the bytes it was read from: everything is
 * computed anew except LZMA data whose content is unchanged.
 */
import { ThimbleError } from "../../base/errors.ts";
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
  SECTION_LZMA,
  SIZE_24_MAX,
  sectionExtendedSize,
  sectionHeader,
  sum8,
} from "./format.ts";
import { lzmaEncode } from "./lzma.ts";
import type { FirmwareFile, FirmwareImage, Section, Volume } from "./tree.ts";

/** The bytes of a flash image. Errors: `volume_full`. */
export function assembleImage(image: FirmwareImage): Uint8Array {
  return concatBytes(image.parts.map((part) => (part.kind === "opaque" ? part.data : assembleVolume(part))));
}

/** Bytes that the files of a volume, placed one after another, leave free. Negative: so much too little. */
export function freeBytes(
  volume: Volume,
  files: readonly Uint8Array[] = volume.files.map(assembleFile),
): number {
  let end = volume.prologue.length;
  for (const file of files) end = alignUp(end, FILE_ALIGNMENT_BYTES) + file.length;
  return volume.sizeBytes - end;
}

/** Errors: `volume_full` with the numbers. */
export function assembleVolume(volume: Volume): Uint8Array {
  const files = volume.files.map(assembleFile);
  const free = freeBytes(volume, files);
  if (free < 0) {
    throw new ThimbleError(
      "volume_full",
      `The files of a firmware volume need ${-free} bytes more than its ${volume.sizeBytes}.`,
    );
  }
  const out = new Uint8Array(volume.sizeBytes).fill(0xff);
  out.set(volume.prologue);
  let at = volume.prologue.length;
  for (const file of files) {
    at = alignUp(at, FILE_ALIGNMENT_BYTES);
    out.set(file, at);
    at += file.length;
  }
  return out;
}

/** A file's bytes without the padding after it. */
export function assembleFile(file: FirmwareFile): Uint8Array {
  const body = file.content instanceof Uint8Array ? file.content : assembleSections(file.content);
  const large = (file.attributes & FILE_ATTRIBUTE_LARGE) !== 0;
  const headerBytes = fileHeader.size + (large ? fileExtendedSize.size : 0);
  const sizeBytes = headerBytes + body.length;
  if (!large && sizeBytes > SIZE_24_MAX) {
    throw new ThimbleError(
      "file_too_large",
      `Firmware file ${file.name}: ${sizeBytes} bytes need FFS3's long form.`,
    );
  }
  const out = new Uint8Array(sizeBytes);
  const { name, type, attributes } = file;
  fileHeader.patch(out, 0, { name, type, attributes, sizeBytes: large ? 0 : sizeBytes });
  if (large) fileExtendedSize.patch(out, fileHeader.size, { extendedSize: sizeBytes });
  // State and file checksum count as zero, which they still are.
  const headerChecksum = -sum8(out.subarray(0, headerBytes)) & 0xff;
  const fileChecksum =
    (attributes & FILE_ATTRIBUTE_CHECKSUM) === 0 ? FILE_FIXED_CHECKSUM : -sum8(body) & 0xff;
  fileHeader.patch(out, 0, { headerChecksum, fileChecksum, state: file.state });
  out.set(body, headerBytes);
  return out;
}

/** Sections one after another, each at a multiple of four. */
export function assembleSections(sections: readonly Section[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (const section of sections) {
    const padding = alignUp(length, SECTION_ALIGNMENT_BYTES) - length;
    const bytes = assembleSection(section);
    pieces.push(new Uint8Array(padding), bytes);
    length += padding + bytes.length;
  }
  return concatBytes(pieces);
}

function assembleSection(section: Section): Uint8Array {
  const body = sectionBody(section);
  const long = section.longHeader || sectionHeader.size + body.length >= SIZE_24_MAX;
  const headerBytes = sectionHeader.size + (long ? sectionExtendedSize.size : 0);
  const out = new Uint8Array(headerBytes + body.length);
  sectionHeader.patch(out, 0, { type: section.type, sizeBytes: long ? SIZE_24_MAX : out.length });
  if (long) sectionExtendedSize.patch(out, sectionHeader.size, { extendedSize: out.length });
  out.set(body, headerBytes);
  if (section.kind === "lzma") {
    guidedSection.patch(out, headerBytes, { dataOffset: headerBytes + guidedSection.size });
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
    case "lzma": {
      const { attributes } = section;
      const compressed = section.compressed ?? lzmaEncode(assembleSections(section.children));
      return concatBytes([guidedSection.encode({ definition: SECTION_LZMA, attributes }), compressed]);
    }
  }
}

/** The image with every changed LZMA section packed, so that sizes can be asked without packing again. */
export function packImage(image: FirmwareImage): FirmwareImage {
  return {
    parts: image.parts.map((part) =>
      part.kind === "opaque" ? part : { ...part, files: part.files.map(packFile) },
    ),
  };
}

function packFile(file: FirmwareFile): FirmwareFile {
  if (file.content instanceof Uint8Array) return file;
  const content = file.content.map((section): Section => {
    if (section.kind !== "lzma" || section.compressed !== undefined) return section;
    return { ...section, compressed: lzmaEncode(assembleSections(section.children)) };
  });
  return { ...file, content };
}
