/**
 * Reads a flash image into a tree. Everything that comes from the image is checked here: positions and sizes against
 * what holds them, checksums, nesting. Errors name the object and its position.
 */
import { ThimbleError } from "../../base/errors.ts";
import {
  alignUp,
  FILE_ALIGNMENT_BYTES,
  FILE_ATTRIBUTE_CHECKSUM,
  FILE_ATTRIBUTE_LARGE,
  FILE_FIXED_CHECKSUM,
  FILE_STATE_VALID,
  FILE_SYSTEM_FFS2,
  FILE_SYSTEM_FFS3,
  FILE_TYPE_OEM_FIRST,
  FILE_TYPE_RAW,
  fileExtendedSize,
  fileHeader,
  guidedSection,
  SECTION_ALIGNMENT_BYTES,
  SECTION_LZMA,
  SECTION_TYPE_GUIDED,
  SECTION_TYPE_VOLUME,
  SIZE_24_MAX,
  sectionExtendedSize,
  sectionHeader,
  sum8,
  sum16,
  VOLUME_ERASE_POLARITY,
  VOLUME_SIGNATURE,
  volumeExtHeader,
  volumeHeader,
} from "./format.ts";
import { lzmaDecode } from "./lzma.ts";
import type { FirmwareFile, FirmwareImage, Opaque, Section, Volume } from "./tree.ts";

/** Volumes in sections in files in volumes: real images nest three deep. */
const NESTING_MAX = 8;
/** Volumes start at multiples of this in a flash image; edk2 and vendors' tools place them at whole blocks. */
const VOLUME_SEARCH_STEP_BYTES = 4096;

function bad(what: string): ThimbleError {
  return new ThimbleError("bad_firmware_volume", `${what} The image is damaged or of a kind not supported.`);
}

const hex = (value: number): string => `0x${value.toString(16)}`;

function isAll(data: Uint8Array, value: number): boolean {
  return data.every((byte) => byte === value);
}

/** Whether a volume header starts here, by its signature. */
function isVolumeAt(data: Uint8Array, at: number): boolean {
  if (at + volumeHeader.size > data.length) return false;
  return volumeHeader.decode(data, at).signature === VOLUME_SIGNATURE;
}

/** Reads a flash image. Errors: `bad_firmware_volume`, `bad_lzma_data`. */
export function parseImage(source: Uint8Array): FirmwareImage {
  const data = new Uint8Array(source); // the tree's own: nodes are views of it
  const parts: (Volume | Opaque)[] = [];
  let opaqueFrom = 0;
  let at = 0;
  while (at < data.length) {
    if (!isVolumeAt(data, at)) {
      at += VOLUME_SEARCH_STEP_BYTES;
      continue;
    }
    if (at > opaqueFrom) parts.push({ kind: "opaque", data: data.subarray(opaqueFrom, at) });
    const volume = parseVolume(data.subarray(at), `The volume at ${hex(at)}`, 0);
    parts.push(volume);
    at += volume.sizeBytes;
    opaqueFrom = at;
  }
  if (opaqueFrom < data.length) parts.push({ kind: "opaque", data: data.subarray(opaqueFrom) });
  return { parts };
}

/** Reads the volume at the start of `data`. */
function parseVolume(data: Uint8Array, where: string, depth: number): Volume {
  if (depth > NESTING_MAX) throw bad(`${where} is nested more than ${NESTING_MAX} deep.`);
  if (data.length < volumeHeader.size) throw bad(`${where} ends within its header.`);
  const header = volumeHeader.decode(data);
  if (header.signature !== VOLUME_SIGNATURE) throw bad(`${where} has no volume signature.`);
  if (header.fvLength > data.length || header.fvLength < header.headerLength) {
    throw bad(`${where} says it is ${header.fvLength} bytes long, ${data.length} are there.`);
  }
  if (header.headerLength < volumeHeader.size || header.headerLength % 2 !== 0) {
    throw bad(`${where} has a header length of ${header.headerLength}.`);
  }
  if (sum16(data.subarray(0, header.headerLength)) !== 0) throw bad(`${where} has a wrong header checksum.`);
  if ((header.attributes & VOLUME_ERASE_POLARITY) === 0) throw bad(`${where} erases to 0.`);
  const volume = data.subarray(0, header.fvLength);
  if (header.fileSystemGuid !== FILE_SYSTEM_FFS2 && header.fileSystemGuid !== FILE_SYSTEM_FFS3) {
    // Not a file system, such as the NVRAM: its header, and all of the rest untouched.
    const prologue = volume;
    return {
      kind: "volume",
      prologue,
      sizeBytes: volume.length,
      fileSystem: header.fileSystemGuid,
      files: [],
    };
  }
  const firstFileAt = prologueEnd(volume, header, where);
  return {
    kind: "volume",
    prologue: volume.subarray(0, firstFileAt),
    sizeBytes: volume.length,
    fileSystem: header.fileSystemGuid,
    files: parseFiles(volume, firstFileAt, where, depth),
  };
}

function prologueEnd(
  volume: Uint8Array,
  header: { headerLength: number; extHeaderOffset: number },
  where: string,
): number {
  if (header.extHeaderOffset === 0) return alignUp(header.headerLength, FILE_ALIGNMENT_BYTES);
  const at = header.extHeaderOffset;
  if (at < header.headerLength || at + volumeExtHeader.size > volume.length) {
    throw bad(`${where} has its extended header at ${hex(at)}.`);
  }
  const end = alignUp(at + volumeExtHeader.decode(volume, at).extHeaderSize, FILE_ALIGNMENT_BYTES);
  if (end > volume.length) throw bad(`${where} has an extended header longer than itself.`);
  return end;
}

function parseFiles(volume: Uint8Array, firstAt: number, where: string, depth: number): FirmwareFile[] {
  const files: FirmwareFile[] = [];
  let at = firstAt;
  while (at + fileHeader.size <= volume.length) {
    if (isAll(volume.subarray(at, at + fileHeader.size), 0xff)) break;
    const { file, sizeBytes } = parseFile(volume.subarray(at), `${where}, file at ${hex(at)}`, depth);
    files.push(file);
    const next = Math.min(alignUp(at + sizeBytes, FILE_ALIGNMENT_BYTES), volume.length);
    if (!isAll(volume.subarray(at + sizeBytes, next), 0xff)) {
      throw bad(`${where}, file at ${hex(at)}: the bytes up to the next file are not 0xFF.`);
    }
    at = next;
  }
  if (!isAll(volume.subarray(at), 0xff)) throw bad(`${where}: the free space after ${hex(at)} is not 0xFF.`);
  return files;
}

function parseFile(
  data: Uint8Array,
  where: string,
  depth: number,
): { file: FirmwareFile; sizeBytes: number } {
  const header = fileHeader.decode(data);
  const large = (header.attributes & FILE_ATTRIBUTE_LARGE) !== 0;
  const headerBytes = fileHeader.size + (large ? fileExtendedSize.size : 0);
  if (headerBytes > data.length) throw bad(`${where} ends within its header.`);
  const sizeBytes = large ? fileExtendedSize.decode(data, fileHeader.size).extendedSize : header.sizeBytes;
  if (sizeBytes < headerBytes || sizeBytes > data.length) {
    throw bad(`${where} says it is ${sizeBytes} bytes long, ${data.length} are left.`);
  }
  if (header.state !== FILE_STATE_VALID) throw bad(`${where} is in state ${hex(header.state)}, not in use.`);
  // The header's own sum leaves out the state and the file checksum.
  const sum = sum8(data.subarray(0, headerBytes)) - header.state - header.fileChecksum;
  if ((sum & 0xff) !== 0) throw bad(`${where} has a wrong header checksum.`);
  const body = data.subarray(headerBytes, sizeBytes);
  const expected =
    (header.attributes & FILE_ATTRIBUTE_CHECKSUM) === 0 ? FILE_FIXED_CHECKSUM : -sum8(body) & 0xff;
  if (header.fileChecksum !== expected) throw bad(`${where} has a wrong file checksum.`);
  const content = holdsSections(header.type) ? parseSections(body, where, depth) : body;
  const { name, type, attributes, state } = header;
  return { file: { name, type, attributes, state, content }, sizeBytes };
}

function holdsSections(fileType: number): boolean {
  return fileType > FILE_TYPE_RAW && fileType < FILE_TYPE_OEM_FIRST;
}

function parseSections(data: Uint8Array, where: string, depth: number): Section[] {
  const sections: Section[] = [];
  let at = 0;
  while (at < data.length) {
    const here = `${where}, section at ${hex(at)}`;
    const { section, sizeBytes } = parseSection(data.subarray(at), here, depth);
    sections.push(section);
    const next = alignUp(at + sizeBytes, SECTION_ALIGNMENT_BYTES);
    const padding = data.subarray(at + sizeBytes, next);
    // The last section needs no padding; a tool that pads it would not come out the same again.
    if (!isAll(padding, 0) || (next >= data.length && padding.length > 0)) {
      throw bad(`${here} is not followed by the usual padding.`);
    }
    at = next;
  }
  return sections;
}

function parseSection(
  data: Uint8Array,
  where: string,
  depth: number,
): { section: Section; sizeBytes: number } {
  if (data.length < sectionHeader.size) throw bad(`${where} ends within its header.`);
  const header = sectionHeader.decode(data);
  const longHeader = header.sizeBytes === SIZE_24_MAX;
  const headerBytes = sectionHeader.size + (longHeader ? sectionExtendedSize.size : 0);
  if (headerBytes > data.length) throw bad(`${where} ends within its header.`);
  const sizeBytes = longHeader
    ? sectionExtendedSize.decode(data, sectionHeader.size).extendedSize
    : header.sizeBytes;
  if (sizeBytes < headerBytes || sizeBytes > data.length) {
    throw bad(`${where} says it is ${sizeBytes} bytes long, ${data.length} are left.`);
  }
  const { type } = header;
  const body = data.subarray(headerBytes, sizeBytes);
  const base = { type, longHeader };
  if (type === SECTION_TYPE_VOLUME) {
    const volume = parseVolume(body, where, depth + 1);
    if (volume.sizeBytes !== body.length) throw bad(`${where} is longer than its volume.`);
    return { section: { ...base, kind: "volume-section", volume }, sizeBytes };
  }
  if (type === SECTION_TYPE_GUIDED) {
    if (body.length < guidedSection.size) throw bad(`${where} ends within its header.`);
    const guided = guidedSection.decode(body);
    if (guided.definition === SECTION_LZMA) {
      if (guided.dataOffset !== headerBytes + guidedSection.size) {
        throw bad(`${where} has its data at ${hex(guided.dataOffset)}.`);
      }
      if (depth >= NESTING_MAX) throw bad(`${where} is nested more than ${NESTING_MAX} deep.`);
      const compressed = body.subarray(guidedSection.size);
      const children = parseSections(lzmaDecode(compressed), `${where}, unpacked`, depth + 1);
      return {
        section: { ...base, kind: "lzma", attributes: guided.attributes, children, compressed },
        sizeBytes,
      };
    }
  }
  return { section: { ...base, kind: "leaf", data: body }, sizeBytes };
}
