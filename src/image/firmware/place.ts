/**
 * Changes the files of one volume without moving the others: code that runs in place, and files that something knows by
 * their address, stay where they are. Room is what is erased at the volume's end, what blank pad files hold, and
 * what the changed file itself took.
 */
import { ThimbleError } from "../../base/errors.ts";
import { fileHeaderBytes, fileLength } from "./assemble.ts";
import {
  alignUp,
  FILE_ALIGNMENT_BYTES,
  FILE_ATTRIBUTE_ALIGNMENT_2,
  FILE_ATTRIBUTE_ALIGNMENT_SHIFT,
  FILE_STATE_VALID,
  FILE_TYPE_PAD,
  fileAlignmentShifts,
  fileHeader,
  PAD_FILE_NAME,
} from "./format.ts";
import { isAll } from "./read-context.ts";
import type { FirmwareFile, Volume } from "./tree.ts";

/** A volume has no room for its files: by how much. */
export class VolumeFullError extends ThimbleError {
  constructor(
    readonly missingBytes: number,
    /** The same where only room at the volume's end counts: by so much it would have to grow. */
    readonly missingAtEndBytes: number,
    neededBytes: number,
    roomBytes: number,
  ) {
    super(
      "volume_full",
      `A file of ${neededBytes} bytes has to go into a volume with room for ${Math.max(0, roomBytes)}: ` +
        `${missingBytes} bytes are missing.`,
    );
  }
}

export interface FileChanges {
  /** By index in the volume's files. */
  readonly replaced: ReadonlyMap<number, FirmwareFile>;
  readonly added: readonly FirmwareFile[];
}

interface Entry {
  readonly file: FirmwareFile;
  readonly start: number;
}

/** Where each file of a volume starts, counted from the volume's start. */
export function fileStarts(volume: Volume): number[] {
  const starts: number[] = [];
  let end = volume.prologue.length;
  for (const file of volume.files) {
    const start = alignUp(end, FILE_ALIGNMENT_BYTES);
    starts.push(start);
    end = start + fileLength(file);
  }
  return starts;
}

/** A pad file of so many bytes, its header included. */
export function padFile(sizeBytes: number, eraseByte: number): FirmwareFile {
  return {
    name: PAD_FILE_NAME,
    type: FILE_TYPE_PAD,
    attributes: 0,
    state: (FILE_STATE_VALID ^ 0xff ^ eraseByte) & 0xff,
    content: new Uint8Array(sizeBytes - fileHeader.size).fill(eraseByte),
  };
}

/** A pad file that holds nothing: some vendors keep data in theirs. */
export function isBlankPad(file: FirmwareFile, eraseByte: number): boolean {
  return file.type === FILE_TYPE_PAD && file.content instanceof Uint8Array && isAll(file.content, eraseByte);
}

/** What a file's content has to be aligned to, counted from the volume's start. */
function contentAlignment({ attributes }: FirmwareFile): number {
  const low = (attributes >>> FILE_ATTRIBUTE_ALIGNMENT_SHIFT) & 7;
  const index = low + ((attributes & FILE_ATTRIBUTE_ALIGNMENT_2) === 0 ? 0 : 8);
  return 2 ** (fileAlignmentShifts[index] as number);
}

/** The first place from `start` on where the file may be: there, or after a pad file. */
function alignedStart(start: number, file: FirmwareFile): number {
  const alignment = Math.max(contentAlignment(file), FILE_ALIGNMENT_BYTES);
  const header = fileHeaderBytes(file);
  if ((start + header) % alignment === 0 || alignment === FILE_ALIGNMENT_BYTES) return start;
  return alignUp(start + fileHeader.size + header, alignment) - header;
}

/** A volume's files while they are changed. Entries follow one another without holes; all starts are multiples of 8. */
class Layout {
  readonly #entries: Entry[];
  readonly #volume: Volume;

  constructor(volume: Volume) {
    this.#volume = volume;
    const starts = fileStarts(volume);
    this.#entries = volume.files.map((file, index) => ({ file, start: starts[index] as number }));
  }

  files(): FirmwareFile[] {
    return this.#entries.map(({ file }) => file);
  }

  /** Where the entry of that index starts; for the one after the last, where the next file would. */
  #startOf(index: number): number {
    const entry = this.#entries[index];
    if (entry !== undefined) return entry.start;
    const last = this.#entries.at(-1);
    const end = last === undefined ? this.#volume.prologue.length : last.start + fileLength(last.file);
    return alignUp(end, FILE_ALIGNMENT_BYTES);
  }

  #isBlank(index: number): boolean {
    const entry = this.#entries[index];
    return entry !== undefined && isBlankPad(entry.file, this.#volume.eraseByte);
  }

  /** Puts a file in the place of the entries from `from` to before `to`. Returns the bytes it lacks, or 0. */
  #put(from: number, to: number, file: FirmwareFile): number {
    const { eraseByte, sizeBytes, tail } = this.#volume;
    const spanStart = this.#startOf(from);
    const start = alignedStart(spanStart, file);
    const end = start + fileLength(file);
    const open = to === this.#entries.length && tail === undefined;
    const limit = open ? sizeBytes : this.#startOf(to);
    const rest = limit - alignUp(end, FILE_ALIGNMENT_BYTES);
    // What is left has to be nothing or a pad file; at the volume's end it is free space of any size.
    if (end > limit) return end - limit;
    if (!open && rest > 0 && rest < fileHeader.size) return fileHeader.size - rest;
    const entries: Entry[] = [{ file, start }];
    if (start > spanStart) {
      entries.unshift({ file: padFile(start - spanStart, eraseByte), start: spanStart });
    }
    if (!open && rest > 0) entries.push({ file: padFile(rest, eraseByte), start: limit - rest });
    this.#entries.splice(from, to - from, ...entries);
    return 0;
  }

  /** Puts a file in another's place, or blanks that and returns the file, which then has to go elsewhere. */
  replace(old: FirmwareFile, file: FirmwareFile): FirmwareFile | undefined {
    const index = this.#entries.findIndex((entry) => entry.file === old);
    const { start } = this.#entries[index] as Entry;
    if (fileLength(file) === fileLength(old)) {
      this.#entries[index] = { file: old.gap === undefined ? file : { ...file, gap: old.gap }, start };
      return undefined;
    }
    let to = index + 1;
    while (this.#isBlank(to)) to++;
    if (this.#put(index, to, file) === 0) return undefined;
    const span = alignUp(fileLength(old), FILE_ALIGNMENT_BYTES);
    this.#entries[index] = { file: padFile(span, this.#volume.eraseByte), start };
    return file;
  }

  /** Puts a file after the last, or over blank pad files. Errors: `volume_full`. */
  add(file: FirmwareFile): void {
    const lacking: number[] = [];
    const attempt = (from: number, to: number): boolean => {
      const missing = this.#put(from, to, file);
      if (missing > 0) lacking.push(missing);
      return missing === 0;
    };
    const count = this.#entries.length;
    if (this.#volume.tail === undefined && attempt(count, count)) return;
    const missingAtEnd = lacking[0] ?? Number.POSITIVE_INFINITY;
    for (let from = 0; from < count; from++) {
      if (!this.#isBlank(from)) continue;
      let to = from;
      while (this.#isBlank(to)) to++;
      if (attempt(from, to)) return;
      from = to;
    }
    const needed = fileLength(file);
    const missing = lacking.length === 0 ? needed : Math.min(...lacking);
    throw new VolumeFullError(missing, missingAtEnd, needed, needed - missing);
  }
}

/** The volume with changed files. Those not named stay where they are. Errors: `volume_full`. */
export function changeFiles(volume: Volume, { replaced, added }: FileChanges): Volume {
  const layout = new Layout(volume);
  const homeless: FirmwareFile[] = [];
  for (const [index, file] of replaced) {
    const left = layout.replace(volume.files[index] as FirmwareFile, file);
    if (left !== undefined) homeless.push(left);
  }
  for (const file of [...homeless, ...added]) layout.add(file);
  return { ...volume, files: layout.files() };
}
