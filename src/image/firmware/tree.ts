/**
 * A firmware image as a tree: image → volumes → files → sections → (in sections) volumes again.
 *
 * The tree is immutable and holds content, not positions: sizes and checksums are computed when it is assembled.
 * Operations build a new tree that shares what did not change.
 */
import { SECTION_TYPE_UI } from "./format.ts";
import type { Guid } from "./guid.ts";

/** A flash image: volumes with bytes between them. */
export interface FirmwareImage {
  readonly parts: readonly (Volume | Opaque)[];
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
  readonly files: readonly FirmwareFile[];
}

export interface FirmwareFile {
  readonly name: Guid;
  readonly type: number;
  readonly attributes: number;
  readonly state: number;
  /** The sections, or the bytes of a file that has none. */
  readonly content: readonly Section[] | Uint8Array;
}

export type Section = LeafSection | VolumeSection | LzmaSection;

interface SectionBase {
  readonly type: number;
  /** The header was of the long form although the size did not ask for it. */
  readonly longHeader: boolean;
}

export interface LeafSection extends SectionBase {
  readonly kind: "leaf";
  readonly data: Uint8Array;
}

export interface VolumeSection extends SectionBase {
  readonly kind: "volume-section";
  readonly volume: Volume;
}

/** A GUID-defined section whose data are compressed by LZMA. */
export interface LzmaSection extends SectionBase {
  readonly kind: "lzma";
  readonly attributes: number;
  readonly children: readonly Section[];
  /** The compressed form as it was read. Absent once a child has changed: compressing again gives other bytes. */
  readonly compressed?: Uint8Array;
}

/** The text of a file's UI section: the module's name. */
export function moduleName(file: FirmwareFile): string | undefined {
  if (file.content instanceof Uint8Array) return undefined;
  for (const section of file.content) {
    if (section.kind !== "leaf" || section.type !== SECTION_TYPE_UI) continue;
    const text = Buffer.from(section.data).toString("utf16le");
    const end = text.indexOf("\0");
    return end < 0 ? text : text.slice(0, end);
  }
  return undefined;
}
