/** Real firmware with its compressed sections unpacked, so that its inner structures can be damaged and read in no time. */
import assert from "node:assert/strict";
import { ThimbleError } from "../../base/errors.ts";
import type { SeededRandom } from "../../base/random.ts";
import { assembleImage, assembleSections, fileLength, freeBytes } from "../firmware/assemble.ts";
import { embedImage } from "../firmware/embed.ts";
import {
  alignUp,
  COMPRESSION_NONE,
  compressionSection,
  FILE_ALIGNMENT_BYTES,
  SECTION_TYPE_COMPRESSION,
} from "../firmware/format.ts";
import { growVolume } from "../firmware/grow.ts";
import { inspectRom, type SectionReport, type VolumeReport } from "../firmware/inspect.ts";
import { parseImage, parseWhole } from "../firmware/parse.ts";
import type { FirmwareFile, Section, Volume } from "../firmware/tree.ts";
import { program, X64 } from "./small-firmware.ts";

function unpacked(section: Section): Section {
  if (section.kind !== "encapsulation") return section;
  const bytes = assembleSections(section.children);
  const header = compressionSection.encode({
    uncompressedLength: bytes.length,
    compressionType: COMPRESSION_NONE,
  });
  const { longHeader, children } = section;
  return {
    kind: "encapsulation",
    codec: "plain",
    type: SECTION_TYPE_COMPRESSION,
    longHeader,
    header,
    children,
    stored: bytes,
  };
}

/** The same firmware with its compressed sections stored as they are, in volumes grown to hold them. */
export function unpackedFirmware(rom: Uint8Array): Uint8Array {
  const { parts } = parseWhole(rom);
  return assembleImage({
    parts: parts.map((part) => (part.kind === "volume" ? unpackedVolume(part) : part)),
  });
}

function unpackedVolume(volume: Volume): Volume {
  const files = volume.files.map((file): FirmwareFile => {
    return file.content instanceof Uint8Array ? file : { ...file, content: file.content.map(unpacked) };
  });
  const missing = fileBytes(files) - fileBytes(volume.files) - freeBytes(volume);
  return missing > 0 ? { ...growVolume(volume, missing), files } : { ...volume, files };
}

function fileBytes(files: readonly FirmwareFile[]): number {
  return files.reduce((sum, file) => sum + alignUp(fileLength(file), FILE_ALIGNMENT_BYTES), 0);
}

/** Where files and sections start in a ROM without compressed sections. */
function structureOffsets(rom: Uint8Array): number[] {
  const offsets: number[] = [];
  const ofSections = (sections: readonly SectionReport[]): void => {
    for (const section of sections) {
      offsets.push(section.offset);
      if (section.volume !== undefined) ofVolume(section.volume);
      ofSections(section.sections ?? []);
    }
  };
  const ofVolume = (volume: VolumeReport): void => {
    offsets.push(volume.offset);
    for (const file of volume.files) {
      offsets.push(file.offset);
      ofSections(file.sections);
    }
  };
  for (const part of inspectRom(rom).parts) if (part.kind === "volume") ofVolume(part);
  return offsets;
}

/** Headers of files and sections are shorter. */
const HEADER_BYTES = 32;

/**
 * Damages the structures of a ROM in `rounds` ways, and cuts it off in some of them. Each has to be read without loss,
 * and to take an image rightly or be refused. Returns how many were found wrong.
 */
export function damageAndRead(rom: Uint8Array, rounds: number, random: SeededRandom): number {
  const good = unpackedFirmware(rom);
  const offsets = structureOffsets(good);
  const image = program(X64, random.fill(new Uint8Array(5000)));
  let wrong = 0;
  for (let round = 0; round < rounds; round++) {
    const length = random.below(10) === 0 ? random.below(good.length) : good.length;
    const damaged = good.slice(0, length);
    for (let i = random.below(3); i >= 0; i--) {
      damaged[random.pick(offsets) + random.below(HEADER_BYTES)] = random.u32(); // past the end: nothing
    }
    const why = `seed ${random.seed}, round ${round}`;
    const read = parseImage(damaged);
    assert.ok(Buffer.from(assembleImage(read)).equals(damaged), why);
    if (read.problems.length > 0) wrong++;
    if (random.below(4) > 0) continue;
    try {
      // It compares what it made with what was there.
      embedImage(damaged, read, { image, keepUnreadable: true });
    } catch (error) {
      assert.ok(error instanceof ThimbleError && error.code !== "rom_not_verified", `${why}: ${error}`);
    }
  }
  return wrong;
}
