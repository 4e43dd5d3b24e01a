/** Open file description locks (fcntl(2), F_OFD_SETLK): held until the descriptor is closed, whatever ends the process. */
import { i32, struct, u16, u64 } from "../base/layout.ts";
import { check, EACCES, EAGAIN } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";

const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const Flock = struct("flock", "include/uapi/asm-generic/fcntl.h", {
  type: u16,
  whence: u16,
  start: u64,
  /** 0: to the end of the file, however far that will be. */
  length: u64,
  pid: i32,
});

/** Locks a whole file without waiting; false when another descriptor's lock stands against it. */
export function lockFile(fd: number, kind: "shared" | "exclusive", path: string): boolean {
  const lock = Flock.encode({ type: kind === "shared" ? F_RDLCK : F_WRLCK });
  const result = bridge.syscall(SYS.fcntl, fd, F_OFD_SETLK, lock);
  if (result === -EAGAIN || result === -EACCES) return false;
  check(result, "fcntl", path);
  return true;
}
