/**
 * Reads a volume, its files and their sections into a tree. Everything that comes from the image is checked here:
 * positions and sizes against what holds them, checksums, nesting. What is wrong inside a file or section is reported,
 * and its bytes are kept; what is wrong with a volume's own structure is an error of the volume.
 */
import { assembleSections } from "./assemble.ts";
import { encapsulated } from "./codecs.ts";
import {
  alignUp,
  FILE_ALIGNMENT_BYTES,
  FILE_ATTRIBUTE_CHECKSUM,
  FILE_ATTRIBUTE_LARGE,
  FILE_FIXED_CHECKSUM,
  FILE_STATE_DATA_VALID,
  FILE_STATE_DELETED,
  FILE_STATE_HEADER_VALID,
  FILE_STATE_MARKED_FOR_UPDATE,
  FILE_SYSTEM_FFS2,
  FILE_SYSTEM_FFS3,
  FILE_TYPE_OEM_FIRST,
  FILE_TYPE_RAW,
  fileExtendedSize,
  fileHeader,
  SECTION_ALIGNMENT_BYTES,
  SECTION_TYPE_VOLUME,
  SIZE_24_MAX,
  sectionExtendedSize,
  sectionHeader,
  sum8,
  sum16,
  VOLUME_ERASE_POLARITY,
  VOLUME_HEADER_BYTES_MAX,
  VOLUME_SIGNATURE,
  volumeExtHeader,
  volumeHeader,
} from "./format.ts";
import { bad, below, isAll, NESTING_MAX, type ReadContext, sameBytes } from "./read-context.ts";
import type { CodecName, FirmwareFile, Section, Volume } from "./tree.ts";

const hex = (value: number): string => `0x${value.toString(16)}`;

/** Whether a volume header with a right checksum starts here. */
export function isVolumeHeader(data: Uint8Array, at: number): boolean {
  if (at < 0 || at + volumeHeader.size > data.length) return false;
  const { signature, headerLength } = volumeHeader.decode(data, at);
  if (signature !== VOLUME_SIGNATURE || headerLength < volumeHeader.size || headerLength % 2 !== 0)
    return false;
  if (headerLength > VOLUME_HEADER_BYTES_MAX || at + headerLength > data.length) return false;
  return sum16(data.subarray(at, at + headerLength)) === 0;
}

/** Reads the volume at the start of `data`. Errors: `bad_firmware_volume`. */
export function readVolume(data: Uint8Array, where: string, depth: number, context: ReadContext): Volume {
  if (depth > NESTING_MAX) throw bad(`it is nested more than ${NESTING_MAX} deep.`);
  if (!isVolumeHeader(data, 0)) throw bad("it has no volume header, or one with a wrong checksum.");
  const header = volumeHeader.decode(data);
  if (header.fvLength > data.length || header.fvLength < header.headerLength) {
    throw bad(`it says it is ${header.fvLength} bytes long, ${data.length} are there.`);
  }
  const bytes = data.subarray(0, header.fvLength);
  const base = {
    kind: "volume",
    sizeBytes: bytes.length,
    fileSystem: header.fileSystemGuid,
    eraseByte: (header.attributes & VOLUME_ERASE_POLARITY) === 0 ? 0 : 0xff,
  } as const;
  if (header.fileSystemGuid !== FILE_SYSTEM_FFS2 && header.fileSystemGuid !== FILE_SYSTEM_FFS3) {
    // Not a file system known here, such as the NVRAM: its header, and all of the rest untouched.
    return { ...base, prologue: bytes, files: [] };
  }
  const firstAt = prologueEnd(bytes, header);
  const prologue = bytes.subarray(0, firstAt);
  return { ...base, prologue, ...readFiles(bytes, firstAt, base, where, depth, context) };
}

function prologueEnd(volume: Uint8Array, header: { headerLength: number; extHeaderOffset: number }): number {
  let end = header.headerLength;
  const at = header.extHeaderOffset;
  if (at !== 0) {
    if (at < header.headerLength || at + volumeExtHeader.size > volume.length) {
      throw bad(`it has its extended header at ${hex(at)}.`);
    }
    end = at + volumeExtHeader.decode(volume, at).extHeaderSize;
  }
  end = alignUp(end, FILE_ALIGNMENT_BYTES);
  if (end > volume.length) throw bad("its headers are longer than itself.");
  return end;
}

interface FileSystem {
  readonly fileSystem: string;
  readonly eraseByte: number;
}

function readFiles(
  volume: Uint8Array,
  firstAt: number,
  system: FileSystem,
  where: string,
  depth: number,
  context: ReadContext,
): Pick<Volume, "files" | "tail"> {
  const files: FirmwareFile[] = [];
  let at = firstAt;
  while (at + fileHeader.size <= volume.length) {
    if (isAll(volume.subarray(at, at + fileHeader.size), system.eraseByte)) break;
    const { file, sizeBytes } = readFile(volume.subarray(at), system, where, at, depth, context);
    const next = Math.min(alignUp(at + sizeBytes, FILE_ALIGNMENT_BYTES), volume.length);
    const gap = volume.subarray(at + sizeBytes, next);
    files.push(isAll(gap, system.eraseByte) ? file : { ...file, gap });
    at = next;
  }
  const tail = volume.subarray(at);
  return isAll(tail, system.eraseByte) ? { files } : { files, tail };
}

/** The highest state bit that is set, whatever the erase polarity. */
function effectiveState(stored: number, eraseByte: number): number {
  const bits = (stored ^ eraseByte) & 0x3f;
  return bits === 0 ? 0 : 1 << (31 - Math.clz32(bits));
}

function readFile(
  data: Uint8Array,
  system: FileSystem,
  volumeWhere: string,
  at: number,
  depth: number,
  context: ReadContext,
): { file: FirmwareFile; sizeBytes: number } {
  context.countNode();
  const what = `the file at ${hex(at)}`;
  const header = fileHeader.decode(data);
  const large = (header.attributes & FILE_ATTRIBUTE_LARGE) !== 0;
  if (large && system.fileSystem !== FILE_SYSTEM_FFS3) throw bad(`${what} is a large file outside of FFS3.`);
  const headerBytes = fileHeader.size + (large ? fileExtendedSize.size : 0);
  if (headerBytes > data.length) throw bad(`${what} ends within its header.`);
  const sizeBytes = large ? fileExtendedSize.decode(data, fileHeader.size).extendedSize : header.sizeBytes;
  if (sizeBytes < headerBytes || sizeBytes > data.length) {
    throw bad(`${what} says it is ${sizeBytes} bytes long, ${data.length} are left.`);
  }
  // The header's own sum leaves out the state and the file checksum.
  const sum = sum8(data.subarray(0, headerBytes)) - header.state - header.fileChecksum;
  if ((sum & 0xff) !== 0) throw bad(`${what} has a wrong header checksum.`);
  const body = data.subarray(headerBytes, sizeBytes);
  const { name, type, attributes, state } = header;
  const state1 = effectiveState(state, system.eraseByte);
  if (state1 === FILE_STATE_DELETED || state1 === FILE_STATE_HEADER_VALID) {
    // Deleted, or never finished: its content is nobody's any more.
    const storedChecksum = header.fileChecksum;
    return { file: { name, type, attributes, state, content: body, storedChecksum }, sizeBytes };
  }
  if (state1 !== FILE_STATE_DATA_VALID && state1 !== FILE_STATE_MARKED_FOR_UPDATE) {
    throw bad(`${what} is in state ${hex(state)}, not in use.`);
  }
  const expected = (attributes & FILE_ATTRIBUTE_CHECKSUM) === 0 ? FILE_FIXED_CHECKSUM : -sum8(body) & 0xff;
  if (header.fileChecksum !== expected) throw bad(`${what} has a wrong file checksum.`);
  const where = below(volumeWhere, "file", at);
  const sections = holdsSections(type)
    ? context.attempt(where, () => readSections(body, where, depth, context))
    : undefined;
  return { file: { name, type, attributes, state, content: sections ?? body }, sizeBytes };
}

function holdsSections(fileType: number): boolean {
  return fileType > FILE_TYPE_RAW && fileType < FILE_TYPE_OEM_FIRST;
}

function readSections(data: Uint8Array, where: string, depth: number, context: ReadContext): Section[] {
  const sections: Section[] = [];
  let at = 0;
  while (at < data.length) {
    const { section, sizeBytes } = readSection(data.subarray(at), where, at, depth, context);
    const next = Math.min(alignUp(at + sizeBytes, SECTION_ALIGNMENT_BYTES), data.length);
    const gap = data.subarray(at + sizeBytes, next);
    // After the last section there is usually nothing, before others zeros.
    const usual = isAll(gap, 0) && (next < data.length || gap.length === 0);
    sections.push(usual ? section : { ...section, gap });
    at = next;
  }
  return sections;
}

function readSection(
  data: Uint8Array,
  fileWhere: string,
  at: number,
  depth: number,
  context: ReadContext,
): { section: Section; sizeBytes: number } {
  context.countNode();
  const what = `the section at ${hex(at)}`;
  const where = below(fileWhere, "section", at);
  if (data.length < sectionHeader.size) throw bad(`${what} ends within its header.`);
  const header = sectionHeader.decode(data);
  const longHeader = header.sizeBytes === SIZE_24_MAX;
  const headerBytes = sectionHeader.size + (longHeader ? sectionExtendedSize.size : 0);
  if (headerBytes > data.length) throw bad(`${what} ends within its header.`);
  const sizeBytes = longHeader
    ? sectionExtendedSize.decode(data, sectionHeader.size).extendedSize
    : header.sizeBytes;
  if (sizeBytes < headerBytes || sizeBytes > data.length) {
    throw bad(`${what} says it is ${sizeBytes} bytes long, ${data.length} are left.`);
  }
  const { type } = header;
  const body = data.subarray(headerBytes, sizeBytes);
  const base = { type, longHeader };
  const inner = context.attempt(where, () =>
    type === SECTION_TYPE_VOLUME
      ? readVolumeSection(base, body, where, depth, context)
      : readEncapsulation(base, body, headerBytes, where, depth, context),
  );
  return { section: inner ?? { ...base, kind: "leaf", data: body }, sizeBytes };
}

type SectionBase = Pick<Section, "type" | "longHeader">;

function readVolumeSection(
  base: SectionBase,
  body: Uint8Array,
  where: string,
  depth: number,
  context: ReadContext,
): Section {
  const volume = readVolume(body, where, depth + 1, context);
  if (volume.sizeBytes !== body.length) throw bad("it is longer than its volume.");
  return { ...base, kind: "volume-section", volume };
}

/** An encapsulating section; undefined for all others. */
function readEncapsulation(
  base: SectionBase,
  body: Uint8Array,
  headerBytes: number,
  where: string,
  depth: number,
  context: ReadContext,
): Section | undefined {
  const found = encapsulated(base.type, body, headerBytes);
  if (found === undefined) return undefined;
  if (depth >= NESTING_MAX) throw bad(`it is nested more than ${NESTING_MAX} deep.`);
  const { header, data } = found;
  const read = (codec: CodecName): Section => {
    const bytes = context.unpack(codec, header, data);
    const children = readSections(bytes, where, depth + 1, context);
    if (!sameBytes(assembleSections(children), bytes))
      throw bad("its sections do not come out the same again.");
    return { ...base, kind: "encapsulation", codec, header, children, stored: data };
  };
  const [first, second] = found.codecs as readonly [CodecName, CodecName?];
  return second === undefined ? read(first) : (context.quietly(() => read(first)) ?? read(second));
}
