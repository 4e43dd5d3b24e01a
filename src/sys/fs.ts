/** Files and directories. Every function throws SystemError with the path when the kernel refuses. */
import { bytes, i32, struct, u16, u32, u64 } from "../base/layout.ts";
import { check, EEXIST, ENOENT, SystemError } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";
import { cString, fromCString, utf8Decode, utf8Encode } from "./text.ts";

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_DSYNC = 0o10000;
export const O_DIRECT = 0o40000;
export const O_DIRECTORY = 0o200000;
export const O_NOFOLLOW = 0o400000;
const O_CLOEXEC = 0o2000000;

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_SYMLINK_NOFOLLOW = 0x100;

/** Opens a file, always close-on-exec. Returns the descriptor. */
export function open(path: string, flags: number, mode = 0o644): number {
  return check(tryOpen(path, flags, mode), "open", path);
}

/** The same, returning a negative errno instead of throwing. */
export function tryOpen(path: string, flags: number, mode = 0o644): number {
  return bridge.syscall(SYS.openat, AT_FDCWD, cString(path), flags | O_CLOEXEC, mode);
}

export function close(fd: number): void {
  bridge.syscall(SYS.close, fd);
}

/** Reads into `target`; returns the size, 0 at the end of the file. */
export function read(fd: number, target: Uint8Array): number {
  return check(bridge.syscall(SYS.read, fd, target, target.length), "read", `fd ${fd}`);
}

/** Writes once; returns how much the kernel took. */
export function write(fd: number, source: Uint8Array): number {
  return check(bridge.syscall(SYS.write, fd, source, source.length), "write", `fd ${fd}`);
}

/** Reads once; returns the size, 0 at the end, or a negative errno (-EAGAIN where nothing waits). */
export function tryRead(fd: number, target: Uint8Array): number {
  return bridge.syscall(SYS.read, fd, target, target.length);
}

/** Writes once; returns how much the kernel took, or a negative errno (-EAGAIN where it has no room). */
export function tryWrite(fd: number, source: Uint8Array): number {
  return bridge.syscall(SYS.write, fd, source, source.length);
}

/** Reads at a byte offset; returns the size, less than asked only at the end of the file. */
export function pread(fd: number, target: Uint8Array, offset: number): number {
  let done = 0;
  while (done < target.length) {
    const rest = done === 0 ? target : target.subarray(done);
    const size = check(
      bridge.syscall(SYS.pread64, fd, rest, rest.length, offset + done),
      "pread",
      `fd ${fd}`,
    );
    if (size === 0) break;
    done += size;
  }
  return done;
}

/** Writes all of `source` at a byte offset. */
export function pwrite(fd: number, source: Uint8Array, offset: number): void {
  let done = 0;
  while (done < source.length) {
    const rest = done === 0 ? source : source.subarray(done);
    done += check(bridge.syscall(SYS.pwrite64, fd, rest, rest.length, offset + done), "pwrite", `fd ${fd}`);
  }
}

/** Writes all of `source` at the descriptor's position; for files, and pipes that may block. */
export function writeAll(fd: number, source: Uint8Array): void {
  for (let done = 0; done < source.length; ) done += write(fd, source.subarray(done));
}

/** A whole file; also one of /proc and /sys, whose size is not known before. At most `maxBytes`. */
export function readFile(path: string, maxBytes = 64 * 1024 * 1024): Uint8Array<ArrayBuffer> {
  const fd = open(path, O_RDONLY);
  try {
    let buffer = new Uint8Array(Math.min(Math.max(statFd(fd, path).sizeBytes + 1, 4096), maxBytes + 1));
    let used = 0;
    for (;;) {
      const size = check(
        bridge.syscall(SYS.read, fd, buffer.subarray(used), buffer.length - used),
        "read",
        path,
      );
      if (size === 0) return buffer.slice(0, used);
      used += size;
      if (used > maxBytes) throw new RangeError(`${path} holds more than the ${maxBytes} bytes expected`);
      if (used === buffer.length) {
        const larger = new Uint8Array(Math.min(buffer.length * 2, maxBytes + 1));
        larger.set(buffer);
        buffer = larger;
      }
    }
  } finally {
    close(fd);
  }
}

/** A whole file as UTF-8 text. */
export function readText(path: string): string {
  return utf8Decode(readFile(path));
}

/** Replaces what a file holds; creates it when there is none. Not atomic: see `replaceFile`. */
export function writeFile(path: string, content: Uint8Array | string, mode = 0o644): void {
  const fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
  try {
    writeAll(fd, typeof content === "string" ? utf8Encode(content) : content);
  } finally {
    close(fd);
  }
}

/** Replaces a file so that a crash leaves either the old or the new content, never a mixture. */
export function replaceFile(path: string, content: Uint8Array | string, mode = 0o644): void {
  const partial = `${path}.new`;
  const fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC, mode);
  try {
    writeAll(fd, typeof content === "string" ? utf8Encode(content) : content);
    fsync(fd);
  } finally {
    close(fd);
  }
  rename(partial, path);
}

export type FileKind = "file" | "directory" | "symlink" | "block" | "character" | "pipe" | "socket";

const KIND_BY_TYPE: Readonly<Record<number, FileKind>> = {
  1: "pipe",
  2: "character",
  4: "directory",
  6: "block",
  8: "file",
  10: "symlink",
  12: "socket",
};

export interface Stat {
  readonly kind: FileKind;
  /** Permission bits only. */
  readonly mode: number;
  readonly sizeBytes: number;
  /** Space taken on disk: less than the size for sparse files. */
  readonly allocatedBytes: number;
  readonly modifiedMs: number;
  /** When it was made; `modifiedMs` where the filesystem does not keep that. */
  readonly createdMs: number;
  readonly inode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a device node. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

const StatxTimestamp = struct("statx_timestamp", "include/uapi/linux/stat.h", {
  seconds: u64,
  nanoseconds: u32,
  reserved: i32,
});
const Statx = struct("statx", "include/uapi/linux/stat.h", {
  mask: u32,
  blockSize: u32,
  attributes: u64,
  links: u32,
  uid: u32,
  gid: u32,
  mode: u16,
  spare0: u16,
  inode: u64,
  size: u64,
  blocks: u64,
  attributesMask: u64,
  accessed: StatxTimestamp,
  born: StatxTimestamp,
  changed: StatxTimestamp,
  modified: StatxTimestamp,
  deviceMajor: u32,
  deviceMinor: u32,
  filesystemMajor: u32,
  filesystemMinor: u32,
  mountId: u64,
  directMemoryAlignment: u32,
  directOffsetAlignment: u32,
  rest: bytes(96),
});
const STATX_BASIC_STATS = 0x7ff;
const STATX_BTIME = 0x800;
const STATX_DIOALIGN = 0x2000;

function milliseconds(time: { seconds: number; nanoseconds: number }): number {
  return time.seconds * 1000 + Math.floor(time.nanoseconds / 1e6);
}

function statx(fd: number, path: string, flags: number): Stat | number {
  const out = new Uint8Array(Statx.size);
  const result = bridge.syscall(SYS.statx, fd, cString(path), flags, STATX_BASIC_STATS | STATX_BTIME, out);
  if (result < 0) return result;
  const s = Statx.decode(out);
  return {
    kind: KIND_BY_TYPE[s.mode >> 12] ?? "file",
    mode: s.mode & 0o7777,
    sizeBytes: s.size,
    allocatedBytes: s.blocks * 512,
    modifiedMs: milliseconds(s.modified),
    createdMs: milliseconds((s.mask & STATX_BTIME) === 0 ? s.modified : s.born),
    inode: s.inode,
    links: s.links,
    uid: s.uid,
    gid: s.gid,
    deviceMajor: s.deviceMajor,
    deviceMinor: s.deviceMinor,
  };
}

function orThrow(result: Stat | number, call: string, object: string): Stat {
  if (typeof result === "number") throw new SystemError(-result, call, object);
  return result;
}

/** What a path leads to, symbolic links followed. */
export function stat(path: string): Stat {
  return orThrow(statx(AT_FDCWD, path, 0), "stat", path);
}

/** What stands at a path itself, be it a symbolic link. */
export function lstat(path: string): Stat {
  return orThrow(statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW), "lstat", path);
}

/** The state of an open file; `object` names it in errors. */
export function statFd(fd: number, object = `fd ${fd}`): Stat {
  return orThrow(statx(fd, "", AT_EMPTY_PATH), "stat", object);
}

/**
 * What O_DIRECT asks of buffers' addresses and of offsets and lengths, in bytes. Where the kernel does not say, it is
 * the file system's own affair and sectors will do.
 */
export function directAlignment(fd: number): { readonly memory: number; readonly offset: number } {
  const out = new Uint8Array(Statx.size);
  check(bridge.syscall(SYS.statx, fd, cString(""), AT_EMPTY_PATH, STATX_DIOALIGN, out), "statx", `fd ${fd}`);
  const { directMemoryAlignment: memory, directOffsetAlignment: offset } = Statx.decode(out);
  return memory === 0 || offset === 0 ? { memory: 512, offset: 512 } : { memory, offset };
}

/** Like `stat`, with null when nothing is there. */
export function tryStat(path: string): Stat | null {
  const result = statx(AT_FDCWD, path, 0);
  if (result === -ENOENT) return null;
  return orThrow(result, "stat", path);
}

/** Whether something is at the path; false also when a directory on the way cannot be searched. */
export function exists(path: string): boolean {
  return typeof statx(AT_FDCWD, path, 0) !== "number";
}

export interface DirectoryEntry {
  readonly name: string;
  /** null where the filesystem does not say; then `lstat` does. */
  readonly kind: FileKind | null;
}

/** struct linux_dirent64: where the fields before the name are (getdents64(2)). */
const DIRENT_RECORD_LENGTH = 16;
const DIRENT_TYPE = 18;
const DIRENT_NAME = 19;

/** The entries of a directory without `.` and `..`, sorted by name. */
export function readDirectory(path: string): DirectoryEntry[] {
  const fd = open(path, O_RDONLY | O_DIRECTORY);
  try {
    const entries: DirectoryEntry[] = [];
    const buffer = new Uint8Array(16 * 1024);
    for (;;) {
      const size = check(bridge.syscall(SYS.getdents64, fd, buffer, buffer.length), "getdents64", path);
      if (size === 0) break;
      for (let at = 0; at < size; ) {
        const length =
          (buffer[at + DIRENT_RECORD_LENGTH] as number) |
          ((buffer[at + DIRENT_RECORD_LENGTH + 1] as number) << 8);
        const name = fromCString(buffer.subarray(0, at + length), at + DIRENT_NAME);
        const kind = KIND_BY_TYPE[buffer[at + DIRENT_TYPE] as number] ?? null;
        if (name !== "." && name !== "..") entries.push({ name, kind });
        at += length;
      }
    }
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  } finally {
    close(fd);
  }
}

export function mkdir(path: string, mode = 0o755): void {
  check(bridge.syscall(SYS.mkdir, cString(path), mode), "mkdir", path);
}

/** Makes a directory and those above it; what exists already stays. */
export function makeDirectories(path: string, mode = 0o755): void {
  for (let end = path.indexOf("/", 1); ; end = path.indexOf("/", end + 1)) {
    const part = end < 0 ? path : path.slice(0, end);
    const result = bridge.syscall(SYS.mkdir, cString(part), mode);
    if (result !== -EEXIST) check(result, "mkdir", part);
    if (end < 0) return;
  }
}

export function rmdir(path: string): void {
  check(bridge.syscall(SYS.rmdir, cString(path)), "rmdir", path);
}

/** Removes a directory with all it holds. Symbolic links are removed, not followed. */
export function removeTree(path: string): void {
  for (const entry of readDirectory(path)) {
    const inner = `${path}/${entry.name}`;
    if ((entry.kind ?? lstat(inner).kind) === "directory") removeTree(inner);
    else unlink(inner);
  }
  rmdir(path);
}

export function rename(from: string, to: string): void {
  check(bridge.syscall(SYS.rename, cString(from), cString(to)), "rename", `${from} to ${to}`);
}

export function unlink(path: string): void {
  check(bridge.syscall(SYS.unlink, cString(path)), "unlink", path);
}

/** Removes a file; says whether there was one. */
export function tryUnlink(path: string): boolean {
  const result = bridge.syscall(SYS.unlink, cString(path));
  if (result !== -ENOENT) check(result, "unlink", path);
  return result === 0;
}

export function symlink(target: string, path: string): void {
  check(bridge.syscall(SYS.symlink, cString(target), cString(path)), "symlink", path);
}

/** What a symbolic link says. */
export function readLink(path: string): string {
  const target = new Uint8Array(4096);
  const size = check(bridge.syscall(SYS.readlink, cString(path), target, target.length), "readlink", path);
  return utf8Decode(target.subarray(0, size));
}

export function chmod(path: string, mode: number): void {
  check(bridge.syscall(SYS.chmod, cString(path), mode), "chmod", path);
}

export function chown(path: string, uid: number, gid: number): void {
  check(bridge.syscall(SYS.chown, cString(path), uid, gid), "chown", path);
}

/** Makes a device node, named pipe or file: `mode` includes the S_IF* type bits. */
export function mknod(path: string, mode: number, deviceMajor = 0, deviceMinor = 0): void {
  const device = ((deviceMajor & 0xfff) << 8) | (deviceMinor & 0xff) | ((deviceMinor & ~0xff) << 12);
  check(bridge.syscall(SYS.mknod, cString(path), mode, device >>> 0), "mknod", path);
}

/** Waits until the file is on stable storage. Gives the runtime lock back meanwhile. */
export function fsync(fd: number): void {
  check(bridge.syscallBlocking(SYS.fsync, fd), "fsync", `fd ${fd}`);
}

/** fdatasync(2) with the runtime lock kept: for small files that only one may change meanwhile. */
export function syncData(fd: number): void {
  check(bridge.syscall(SYS.fdatasync, fd), "fdatasync", `fd ${fd}`);
}

/** Sets the file's size; what is added reads as zeroes and takes no space. */
export function ftruncate(fd: number, sizeBytes: number): void {
  check(bridge.syscall(SYS.ftruncate, fd, sizeBytes), "ftruncate", `fd ${fd}`);
}

/** fallocate(2) modes, to be combined with FALLOC_KEEP_SIZE where the man page says so. */
export const FALLOC_KEEP_SIZE = 1;
export const FALLOC_PUNCH_HOLE = 2;
export const FALLOC_ZERO_RANGE = 16;

export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  check(bridge.syscall(SYS.fallocate, fd, mode, offset, length), "fallocate", `fd ${fd}`);
}

/** Whether one descriptor is ready, after at most `timeoutMs`: the POLL* bits that hold, 0 after the time. */
export function poll(fd: number, events: number, timeoutMs: number): number {
  const request = new Int32Array([fd, events]); // struct pollfd: events in the low half of the second word
  const ready = check(bridge.syscallBlocking(SYS.poll, request, 1, timeoutMs), "poll", `fd ${fd}`);
  return ready === 0 ? 0 : (request[1] as number) >>> 16;
}

/** A pipe, close-on-exec: [reading end, writing end]. `flags` may add O_NONBLOCK. */
export function pipe(flags = 0): [number, number] {
  const ends = new Int32Array(2);
  check(bridge.syscall(SYS.pipe2, ends, flags | O_CLOEXEC), "pipe2");
  return [ends[0] as number, ends[1] as number];
}

/** Sets or clears O_NONBLOCK on an open descriptor. */
export function setNonBlocking(fd: number, nonBlocking: boolean): void {
  const F_GETFL = 3;
  const F_SETFL = 4;
  const flags = check(bridge.syscall(SYS.fcntl, fd, F_GETFL, 0), "fcntl", `fd ${fd}`);
  const wanted = nonBlocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  check(bridge.syscall(SYS.fcntl, fd, F_SETFL, wanted), "fcntl", `fd ${fd}`);
}
