/** Files that a guest boots from, read piece by piece straight into guest memory: they can be large. */
import { MiB } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

export interface BootFile {
  /** For messages. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Fills `target` from `offset`, or throws. Is never asked for bytes beyond `sizeBytes`. */
  read(offset: number, target: Uint8Array): void;
}

/** Of x86-64. */
const HUGE_PAGE_SIZE = 2 * MiB;

/** A file that is in memory already. */
export function bootFileOf(name: string, content: Uint8Array): BootFile {
  return {
    name,
    sizeBytes: content.length,
    read: (offset, target) => target.set(content.subarray(offset, offset + target.length)),
  };
}

/** `length` bytes at `offset`; `field` names them in the error when the file is too short. */
export function readBytes(
  file: BootFile,
  offset: number,
  length: number,
  field: string,
): Uint8Array<ArrayBuffer> {
  if (offset < 0 || offset + length > file.sizeBytes) {
    throw badKernel(
      file,
      field,
      `lies outside the file's ${file.sizeBytes} bytes; the file may be cut short`,
    );
  }
  const out = new Uint8Array(length);
  file.read(offset, out);
  return out;
}

/**
 * Copies part of a file into RAM that the caller has checked to be there. The guest fills the rest of `roomBytes` soon,
 * so the last huge page is taken whole, too.
 */
export function readIntoMemory(
  file: BootFile,
  offset: number,
  length: number,
  memory: GuestMemory,
  at: number,
  roomBytes = length,
): void {
  if (length > 0) memory.expectFill(at, Math.min(roomBytes, length + HUGE_PAGE_SIZE - 1));
  memory.split(at, length, (bytes, done) => file.read(offset + done, bytes));
}

/** The file cannot be booted: which of its fields says so, and why. */
export function badKernel(file: BootFile, field: string, why: string): ThimbleError {
  return new ThimbleError("bad_kernel", `${file.name} cannot be booted: ${field} ${why}.`);
}
