/** What the readers of a flash image share: what they found wrong, and how much they may still unpack and make. */
import { ThimbleError } from "../../base/errors.ts";
import { claimedBytes, decodeSections } from "./codecs.ts";
import type { CodecName } from "./tree.ts";

/** Volumes in sections in files in volumes: real images nest three deep. */
export const NESTING_MAX = 8;
/** All that an image's compressed sections unpack to. Real ones of 32 MiB hold about 40 MB. */
const UNPACKED_BYTES_MAX = 256 * 1024 * 1024;
/** Files and sections. Real images have one to five thousand. */
const NODES_MAX = 100_000;
/** Of compressed sections. Images that pack each module by itself have some hundreds. */
const UNPACKED_SECTIONS_MAX = 2000;
/** Further ones are counted, not kept. */
const PROBLEMS_MAX = 100;

const expectedErrors: ReadonlySet<string> = new Set(["bad_firmware_volume", "bad_compressed_data"]);

const hex = (value: number): string => `0x${value.toString(16)}`;

/** A finding about the image, for the nearest reader that can keep the bytes as they are. */
export function bad(what: string): ThimbleError {
  return new ThimbleError("bad_firmware_volume", what);
}

export class ReadContext {
  readonly problems: string[] = [];
  #problemsLeftOut = 0;
  #nodes = 0;
  #unpackedBytes = 0;
  #unpackedSections = 0;

  /** To be called per file and section. Errors: `rom_too_complex`. */
  countNode(): void {
    if (++this.#nodes > NODES_MAX) {
      throw new ThimbleError(
        "rom_too_complex",
        `The image has more than ${NODES_MAX} files and sections: no firmware has.`,
      );
    }
  }

  report(message: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push(message);
    else this.#problemsLeftOut++;
  }

  /** Runs `read`; what is wrong with the image becomes a problem, and undefined the result. */
  attempt<T>(where: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ThimbleError && expectedErrors.has(error.code))) throw error;
      this.report(`${where}: ${error.message}`);
      return undefined;
    }
  }

  /** The same where there is another try: nothing is reported. */
  quietly<T>(read: () => T): T | undefined {
    const known = this.problems.length;
    try {
      const result = read();
      if (this.problems.length === known) return result;
    } catch (error) {
      if (!(error instanceof ThimbleError && expectedErrors.has(error.code))) throw error;
    }
    this.problems.length = known;
    return undefined;
  }

  /**
   * The bytes of an encapsulating section's children. What it claims to unpack to counts against the whole image's
   * limit before any work is done. Errors: `bad_compressed_data`, `rom_too_complex`, `xz_failed`.
   */
  unpack(codec: CodecName, header: Uint8Array, data: Uint8Array): Uint8Array {
    const claimed = claimedBytes(codec, data);
    if (claimed === undefined) return decodeSections(codec, header, data, 0);
    if (++this.#unpackedSections > UNPACKED_SECTIONS_MAX) {
      throw new ThimbleError(
        "rom_too_complex",
        `The image has more than ${UNPACKED_SECTIONS_MAX} compressed sections: no firmware has.`,
      );
    }
    const left = UNPACKED_BYTES_MAX - this.#unpackedBytes;
    if (claimed > left) {
      throw new ThimbleError(
        "bad_compressed_data",
        `compressed data claim to unpack to ${claimed} bytes; ${left} are left of what a whole image may take.`,
      );
    }
    this.#unpackedBytes += claimed;
    return decodeSections(codec, header, data, claimed);
  }

  finish(): readonly string[] {
    const more = this.#problemsLeftOut;
    if (more === 0) return this.problems;
    return [...this.problems, `${more} more problems were found.`];
  }
}

/** Where something is, for messages: `volume at 0x84000, file at 0x48`. */
export function below(where: string, what: string, at: number): string {
  return `${where}, ${what} at ${hex(at)}`;
}

/** Whether every byte has that value. */
export function isAll(data: Uint8Array, value: number): boolean {
  for (let i = 0; i < data.length; i++) if (data[i] !== value) return false;
  return true;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
