/**
 * A firmware image as a tree: image → volumes → files → sections → (in sections) volumes again.
 *
 * The tree is immutable and holds content, not positions: sizes and checksums are computed when it is assembled.
 * Operations build a new tree that shares what did not change.
 */
import { SECTION_TYPE_UI } from "./format.ts";
import type { Guid } from "./guid.ts";

/** Longer names and versions are cut. */
const TEXT_LENGTH_MAX = 200;

/** A flash image: volumes with bytes between them. */
export interface FirmwareImage {
  readonly parts: readonly (Volume | Opaque)[];
  /** What is damaged or not known, in sentences with its place. Those bytes are in the tree all the same. */
  readonly problems: readonly string[];
}

/** Bytes that are kept as they are. */
export interface Opaque {
  readonly kind: "opaque";
  readonly data: Uint8Array;
}

/** A firmware volume. Its size is fixed; what its files leave is free space. */
export interface Volume {
  readonly kind: "volume";
  /** The header with block map and extended header (and the pad file around the latter, if any). */
  readonly prologue: Uint8Array;
  readonly sizeBytes: number;
  readonly fileSystem: Guid;
  /** What erased bytes read as: 0xFF or 0. */
  readonly eraseByte: number;
  readonly files: readonly FirmwareFile[];
  /** What stands after the last file, up to the volume's end, where that is more than erased bytes. */
  readonly tail?: Uint8Array;
}

export interface FirmwareFile {
  readonly name: Guid;
  readonly type: number;
  readonly attributes: number;
  /** As stored: inverted in a volume that erases to 0xFF. */
  readonly state: number;
  /** The sections, or the bytes of a file that has none. */
  readonly content: readonly Section[] | Uint8Array;
  /** The checksum as stored, of a file that is kept although it is wrong: a deleted or unfinished one. */
  readonly storedChecksum?: number;
  /** The bytes up to the next file, where they are not erased ones. */
  readonly gap?: Uint8Array;
}

export type Section = LeafSection | VolumeSection | Encapsulation;

interface SectionBase {
  readonly type: number;
  /** The header was of the long form although the size did not ask for it. */
  readonly longHeader: boolean;
  /** The bytes up to the next section, where they are not the usual zeros. */
  readonly gap?: Uint8Array;
}

export interface LeafSection extends SectionBase {
  readonly kind: "leaf";
  readonly data: Uint8Array;
}

export interface VolumeSection extends SectionBase {
  readonly kind: "volume-section";
  readonly volume: Volume;
}

/** How an encapsulating section stores the sections in it (codecs.ts). */
export type CodecName = "plain" | "crc32" | "lzma" | "lzma-x86" | "tiano" | "efi" | "brotli";

/** A section of further sections: a compression section, a GUID-defined one or a disposable one. */
export interface Encapsulation extends SectionBase {
  readonly kind: "encapsulation";
  readonly codec: CodecName;
  /** What follows the section header up to the data. */
  readonly header: Uint8Array;
  readonly children: readonly Section[];
  /** The data as they were read. Absent once a child has changed: packing again gives other bytes. */
  readonly stored?: Uint8Array;
}

/** Whether a section's children are stored in another form than their own bytes. */
export function isCompressed(section: Encapsulation): boolean {
  return section.codec !== "plain" && section.codec !== "crc32";
}

/** The text of a file's UI section: the module's name. */
export function moduleName(file: FirmwareFile): string | undefined {
  return file.content instanceof Uint8Array ? undefined : uiText(file.content);
}

/** Some modules have their sections, the UI section included, in an encapsulating one. */
function uiText(sections: readonly Section[]): string | undefined {
  for (const section of sections) {
    if (section.kind === "encapsulation") {
      const inner = uiText(section.children);
      if (inner !== undefined) return inner;
    }
    if (section.kind !== "leaf" || section.type !== SECTION_TYPE_UI) continue;
    return utf16(section.data);
  }
  return undefined;
}

/**
 * Text of UTF-16 up to its terminating zero. It comes from a ROM and goes to terminals: what is no letter, digit, mark or
 * blank of the usual kind becomes a question mark.
 */
export function utf16(data: Uint8Array): string {
  const text = Buffer.from(data).toString("utf16le");
  const end = text.indexOf("\0");
  return (end < 0 ? text : text.slice(0, end))
    .slice(0, TEXT_LENGTH_MAX)
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
}
