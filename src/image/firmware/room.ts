/**
 * How much room giving up modules would make. In a compressed section that depends on everything else in it; the estimate
 * is what a group's modules take when they are packed together by themselves.
 */
import { assembleFile, fileLength } from "./assemble.ts";
import { encodedLength } from "./codecs.ts";
import { concatBytes } from "./format.ts";
import { isShell } from "./home.ts";
import { groupOf, optionalGroups } from "./optional.ts";
import {
  type CodecName,
  type FirmwareFile,
  type FirmwareImage,
  isCompressed,
  moduleName,
  type Section,
  type Volume,
} from "./tree.ts";

/** What a group of modules takes in the flash. */
export interface DropGain {
  readonly group: string;
  /** For people: what the firmware can no longer do without them. */
  readonly loses: string;
  readonly bytes: number;
  readonly modules: readonly ModuleGain[];
}

export interface ModuleGain {
  readonly module: string;
  /** Taken in the flash, when packed alone: together modules take less. */
  readonly bytes: number;
}

/** What the Shell's place brings: the image takes it. */
const shellGroup = { group: "shell", loses: "the UEFI Shell, whose place the image takes" } as const;

/** Modules of a group that are estimated one by one: no group has as many, but a hostile ROM may. */
const MODULES_MAX = 200;

/** A module, and the innermost compression around it. */
interface Found {
  readonly file: FirmwareFile;
  readonly codec: CodecName | undefined;
}

/** The Shell, and every optional group of which the image has modules. Errors: `xz_failed`. */
export function dropGains(image: Pick<FirmwareImage, "parts">): DropGain[] {
  const found: Found[] = [];
  for (const part of image.parts) if (part.kind === "volume") findIn(part, undefined, found);
  const groups = optionalGroups.map(({ name, loses }) => ({ group: name, loses }));
  return [shellGroup, ...groups].flatMap(({ group, loses }) => {
    const members = found.filter(({ file }) => groupNameOf(file) === group);
    if (members.length === 0) return [];
    const modules = members
      .slice(0, MODULES_MAX)
      .map((member) => ({
        module: moduleName(member.file) ?? member.file.name,
        bytes: packedBytes([member]),
      }))
      .sort((a, b) => b.bytes - a.bytes);
    return [{ group, loses, bytes: packedBytes(members), modules }];
  });
}

function groupNameOf(file: FirmwareFile): string | undefined {
  return isShell(file) ? shellGroup.group : groupOf(file)?.name;
}

function findIn(volume: Volume, codec: CodecName | undefined, found: Found[]): void {
  for (const file of volume.files) {
    if (groupNameOf(file) !== undefined) found.push({ file, codec });
    else if (!(file.content instanceof Uint8Array)) findInSections(file.content, codec, found);
  }
}

function findInSections(sections: readonly Section[], codec: CodecName | undefined, found: Found[]): void {
  for (const section of sections) {
    if (section.kind === "volume-section") findIn(section.volume, codec, found);
    if (section.kind !== "encapsulation") continue;
    findInSections(section.children, isCompressed(section) ? section.codec : codec, found);
  }
}

function packedBytes(members: readonly Found[]): number {
  let bytes = 0;
  for (const codec of new Set(members.map((member) => member.codec))) {
    const files = members.filter((member) => member.codec === codec).map(({ file }) => file);
    if (codec === undefined) bytes += files.reduce((sum, file) => sum + fileLength(file), 0);
    else bytes += encodedLength(codec, concatBytes(files.map(assembleFile)));
  }
  return bytes;
}
