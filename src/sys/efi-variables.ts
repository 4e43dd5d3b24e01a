/** UEFI variables as the kernel shows them in efivarfs (Linux, Documentation/filesystems/efivarfs.rst). */
import { close, exists, O_RDONLY, O_WRONLY, open, readFile, writeAll } from "./fs.ts";
import { ioctl, ior, iow } from "./ioctl.ts";

const DIRECTORY = "/sys/firmware/efi/efivars";
/** include/uapi/linux/fs.h; the argument is an int, the number says long. */
const FS_IOC_GETFLAGS = ior(0x66, 1, 8);
const FS_IOC_SETFLAGS = iow(0x66, 2, 8);
const FS_IMMUTABLE_FL = 0x10;
/** A variable of ours is some bytes; other firmware's may be large. */
const SIZE_MAX = 64 * 1024;

/** Attributes (four bytes, little-endian) and value; null when there is no such variable or no UEFI. */
export function readVariable(name: string, vendor: string): Uint8Array<ArrayBuffer> | null {
  const path = `${DIRECTORY}/${name}-${vendor}`;
  return exists(path) ? readFile(path, SIZE_MAX) : null;
}

/** Replaces a variable that is there; `content` begins with the attributes. Throws SystemError. */
export function replaceVariable(name: string, vendor: string, content: Uint8Array): void {
  const path = `${DIRECTORY}/${name}-${vendor}`;
  // The kernel guards variables it does not know from `rm -rf` by the immutable flag.
  setImmutable(path, false);
  const fd = open(path, O_WRONLY);
  try {
    writeAll(fd, content); // in one call, as the kernel wants it: it takes a content as a whole
  } finally {
    close(fd);
    setImmutable(path, true);
  }
}

function setImmutable(path: string, immutable: boolean): void {
  const fd = open(path, O_RDONLY);
  try {
    const flags = new Uint32Array(2);
    ioctl(fd, FS_IOC_GETFLAGS, flags, "FS_IOC_GETFLAGS");
    const others = (flags[0] as number) & ~FS_IMMUTABLE_FL;
    flags[0] = others | (immutable ? FS_IMMUTABLE_FL : 0);
    ioctl(fd, FS_IOC_SETFLAGS, flags, "FS_IOC_SETFLAGS");
  } finally {
    close(fd);
  }
}
