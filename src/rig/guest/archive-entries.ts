/** Entries of an initramfs, by what they are for. */
import type { CpioEntry } from "../../image/cpio.ts";

export function directoryEntry(path: string): CpioEntry {
  return { kind: "directory", path, mode: 0o755 };
}

export function fileEntry(path: string, data: Uint8Array): CpioEntry {
  return { kind: "file", path, mode: 0o644, data };
}

/** A file that may be executed. */
export function programEntry(path: string, data: Uint8Array): CpioEntry {
  return { kind: "file", path, mode: 0o755, data };
}
