/** Kernel and initrd as open files. */
import { messageOf, ThimbleError } from "../base/errors.ts";
import { close, O_RDONLY, open, pread, statFd } from "../sys/fs.ts";
import type { BootFile } from "./boot/boot-file.ts";

/** A file and its descriptor; `close` when the guest's memory has been filled. */
export interface OpenBootFile extends BootFile {
  close(): void;
}

export function openBootFile(path: string): OpenBootFile {
  const fd = open(path, O_RDONLY);
  try {
    const { kind, sizeBytes } = statFd(fd, path);
    if (kind !== "file") throw new ThimbleError("bad_kernel", `${path} is a ${kind}, not a file`);
    return {
      name: path,
      sizeBytes,
      read: (offset, target) => {
        if (pread(fd, target, offset) < target.length) {
          throw new ThimbleError("bad_kernel", `${path} became shorter while it was read`);
        }
      },
      close: () => close(fd),
    };
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Runs what uses a field of the configuration; its errors become configuration errors that name the field. */
export function forField<T>(field: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    throw new ThimbleError("bad_config", `${field}: ${messageOf(error)}`, { cause: error });
  }
}
