/** What a flash image holds, as data: for people by inspect-text.ts, for programs as JSON. */
import {
  assembleSections,
  fileHeaderBytes,
  fileLength,
  freeBytes,
  type SectionPlace,
  sectionPlaces,
} from "./assemble.ts";
import { codecTitles, definitionOf } from "./codecs.ts";
import { fileMachine, machineName } from "./executable.ts";
import { hasBootGuard } from "./fit.ts";
import {
  FILE_TYPE_PAD,
  fileTypeNames,
  SECTION_TYPE_UI,
  SECTION_TYPE_VERSION,
  sectionTypeNames,
  volumeExtHeader,
  volumeHeader,
} from "./format.ts";
import type { Guid } from "./guid.ts";
import { knownGuids } from "./known-guids.ts";
import { type VariableStore, variableStore } from "./nvram.ts";
import { groupOf } from "./optional.ts";
import { parseImage } from "./parse.ts";
import { fileStarts } from "./place.ts";
import { isAll } from "./read-context.ts";
import { capsuleName, type FlashRegion, flashRegions } from "./regions.ts";
import { type DropGain, dropGains } from "./room.ts";
import {
  type FirmwareFile,
  type FirmwareImage,
  isCompressed,
  type LeafSection,
  moduleName,
  type Opaque,
  type Section,
  utf16,
  type Volume,
} from "./tree.ts";

/** Offsets count from the start of the ROM or, inside a compressed section, of what that unpacks to. */
interface Placed {
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface OpaqueReport extends Placed {
  readonly kind: "bytes";
  readonly content: "erased" | "zeros" | "data";
}

export interface VolumeReport extends Placed {
  readonly kind: "volume";
  readonly fileSystem: Guid;
  readonly fileSystemName?: string;
  /** FvName of the extended header. */
  readonly name?: Guid;
  /** Erased bytes after the last file; absent where there are no files. */
  readonly freeBytes?: number;
  readonly variables?: VariableStore;
  readonly files: readonly FileReport[];
}

export interface FileReport extends Placed {
  readonly name: Guid;
  readonly type: string;
  /** What the file calls itself, or is known as. */
  readonly module?: string;
  readonly machine?: string;
  /** The group of modules to do without that it is in. */
  readonly optional?: string;
  readonly sections: readonly SectionReport[];
}

export interface SectionReport extends Placed {
  readonly type: string;
  /** A module's name or version. */
  readonly text?: string;
  /** Of a GUID-defined section that is kept closed: what packed it, by name where that is known. */
  readonly definition?: string;
  readonly storedAs?: string;
  /** What a compressed section unpacks to. */
  readonly unpackedBytes?: number;
  readonly sections?: readonly SectionReport[];
  readonly volume?: VolumeReport;
}

export interface RomReport {
  readonly sizeBytes: number;
  readonly capsule?: string;
  readonly regions?: readonly FlashRegion[];
  /** Whether Intel Boot Guard checks the flash: a changed one might not start. */
  readonly bootGuard: boolean;
  readonly parts: readonly (OpaqueReport | VolumeReport)[];
  /** Modules that a host's firmware can do without, by group. */
  readonly optional: readonly DropGain[];
  readonly problems: readonly string[];
}

/** Reads a flash image and says what is in it. Errors: those of `parseImage`. */
export function inspectRom(rom: Uint8Array): RomReport {
  const image = parseImage(rom);
  return {
    sizeBytes: rom.length,
    capsule: capsuleName(rom),
    regions: flashRegions(rom),
    bootGuard: hasBootGuard(rom),
    parts: partReports(image),
    optional: dropGains(image),
    problems: image.problems,
  };
}

function partReports(image: FirmwareImage): (OpaqueReport | VolumeReport)[] {
  let offset = 0;
  return image.parts.map((part) => {
    const report = part.kind === "opaque" ? opaqueReport(part, offset) : volumeReport(part, offset);
    offset += report.sizeBytes;
    return report;
  });
}

function opaqueReport({ data }: Opaque, offset: number): OpaqueReport {
  const content = isAll(data, 0xff) ? "erased" : isAll(data, 0) ? "zeros" : "data";
  return { kind: "bytes", offset, sizeBytes: data.length, content };
}

function volumeReport(volume: Volume, offset: number): VolumeReport {
  const starts = fileStarts(volume);
  const holdsFiles = volume.prologue.length < volume.sizeBytes;
  return {
    kind: "volume",
    offset,
    sizeBytes: volume.sizeBytes,
    fileSystem: volume.fileSystem,
    fileSystemName: knownGuids[volume.fileSystem],
    name: volumeName(volume),
    freeBytes: holdsFiles ? freeBytes(volume) : undefined,
    variables: variableStore(volume),
    files: volume.files.map((file, index) => fileReport(file, offset + (starts[index] as number))),
  };
}

function volumeName({ prologue }: Volume): Guid | undefined {
  const { extHeaderOffset } = volumeHeader.decode(prologue);
  if (extHeaderOffset === 0 || extHeaderOffset + volumeExtHeader.size > prologue.length) return undefined;
  return volumeExtHeader.decode(prologue, extHeaderOffset).fvName;
}

function fileReport(file: FirmwareFile, offset: number): FileReport {
  const { content, name } = file;
  const machine = fileMachine(file);
  return {
    offset,
    sizeBytes: fileLength(file),
    name,
    type: fileTypeNames[file.type] ?? `type 0x${file.type.toString(16)}`,
    module: file.type === FILE_TYPE_PAD ? undefined : (moduleName(file) ?? knownGuids[name]),
    machine: machine === undefined ? undefined : machineName(machine),
    optional: groupOf(file)?.name,
    sections: content instanceof Uint8Array ? [] : sectionReports(content, offset + fileHeaderBytes(file)),
  };
}

function sectionReports(sections: readonly Section[], offset: number): SectionReport[] {
  const places = sectionPlaces(sections);
  return sections.map((section, index) => {
    const { start, sizeBytes, headerBytes } = places[index] as SectionPlace;
    const type = sectionTypeNames[section.type] ?? `type 0x${section.type.toString(16)}`;
    const placed = { type, offset: offset + start, sizeBytes };
    const bodyAt = placed.offset + headerBytes;
    if (section.kind === "leaf") {
      const definition = definitionOf(section.type, section.data);
      const named = definition === undefined ? undefined : (knownGuids[definition] ?? definition);
      return { ...placed, text: sectionText(section), definition: named };
    }
    if (section.kind === "volume-section") return { ...placed, volume: volumeReport(section.volume, bodyAt) };
    const compressed = isCompressed(section);
    return {
      ...placed,
      storedAs: codecTitles[section.codec],
      unpackedBytes: compressed ? assembleSections(section.children).length : undefined,
      sections: sectionReports(section.children, compressed ? 0 : bodyAt + section.header.length),
    };
  });
}

/** What a section says in words: a module's name or version. */
function sectionText(section: LeafSection): string | undefined {
  if (section.type === SECTION_TYPE_UI) return utf16(section.data);
  // A build number of two bytes comes first (PI 1.8, volume 3, 3.2.5.15).
  if (section.type === SECTION_TYPE_VERSION) return utf16(section.data.subarray(2));
  return undefined;
}
