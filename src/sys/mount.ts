/** Mounting filesystems and asking how full they are. */
import { array, i32, struct, u64 } from "../base/layout.ts";
import { check } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";
import { cString } from "./text.ts";

export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_REMOUNT = 32;
export const MS_BIND = 4096;
export const MS_MOVE = 8192;
export const MS_REC = 16384;
export const MS_PRIVATE = 1 << 18;
export const MNT_DETACH = 2;

/** Mounts `source` at `target`; `options` is what the filesystem itself understands ("size=64m"). */
export function mount(source: string, target: string, type: string, flags = 0, options = ""): void {
  const data = options === "" ? null : cString(options);
  check(
    bridge.syscall(SYS.mount, cString(source), cString(target), cString(type), flags, data),
    "mount",
    `${type} at ${target}`,
  );
}

/** Unmounts; with MNT_DETACH at once for new users, when unused for the rest. */
export function umount(target: string, flags = 0): void {
  check(bridge.syscall(SYS.umount2, cString(target), flags), "umount", target);
}

const Statfs = struct("statfs", "include/uapi/asm-generic/statfs.h", {
  type: u64,
  blockSize: u64,
  blocks: u64,
  blocksFree: u64,
  blocksAvailable: u64,
  files: u64,
  filesFree: u64,
  id: array(i32, 2),
  nameLengthMax: u64,
  fragmentSize: u64,
  flags: u64,
  spare: array(u64, 4),
});

export interface FilesystemUsage {
  /** Magic number of the filesystem's kind (include/uapi/linux/magic.h). */
  readonly type: number;
  readonly sizeBytes: number;
  readonly freeBytes: number;
  /** Free for users other than root. */
  readonly availableBytes: number;
}

/** Size and free space of the filesystem that holds `path`, or an open file. */
export function statfs(path: string | number): FilesystemUsage {
  const out = new Uint8Array(Statfs.size);
  const isPath = typeof path === "string";
  const result = bridge.syscall(isPath ? SYS.statfs : SYS.fstatfs, isPath ? cString(path) : path, out);
  check(result, "statfs", isPath ? path : `fd ${path}`);
  const s = Statfs.decode(out);
  return {
    type: s.type,
    sizeBytes: s.blocks * s.blockSize,
    freeBytes: s.blocksFree * s.blockSize,
    availableBytes: s.blocksAvailable * s.blockSize,
  };
}
