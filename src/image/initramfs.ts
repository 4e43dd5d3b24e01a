/** The host's root file system: one program and the directories in which it mounts what the kernel offers. */
import { type CpioEntry, cpioArchive } from "./cpio.ts";

/** Mount points and places for files of the running host. */
const DIRECTORIES = ["dev", "etc", "proc", "run", "sys", "tmp", "var"];

/** The initramfs around the `thimble` program, which is /init. The same program gives the same bytes. */
export function buildInitramfs(program: Uint8Array): Uint8Array {
  const entries: CpioEntry[] = [
    ...DIRECTORIES.map((path): CpioEntry => ({ kind: "directory", path, mode: 0o755 })),
    // The kernel opens it for PID 1 before anything can mount devtmpfs.
    { kind: "character-device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
    { kind: "file", path: "init", mode: 0o755, data: program },
  ];
  return cpioArchive(entries);
}
