/**
 * Reading and writing at lists of memory ranges (readv(2)), and what else a disk image needs of its file. A list is an
 * array of struct iovec, as IovecArray of src/vmm/backends makes it. All return the size or a negative errno.
 *
 * Those of disks give the runtime lock back meanwhile; those of network interfaces do not, as they never wait.
 */
import { SYS } from "./syscall-numbers.ts";

export function preadv(fd: number, iovec: Uint32Array, count: number, offset: number): number {
  // The kernel takes the offset's high half apart, which on 64 bits the whole offset already holds.
  return bridge.syscallBlocking(SYS.preadv, fd, iovec, count, offset, 0);
}

export function pwritev(fd: number, iovec: Uint32Array, count: number, offset: number): number {
  return bridge.syscallBlocking(SYS.pwritev, fd, iovec, count, offset, 0);
}

export function readv(fd: number, iovec: Uint32Array, count: number): number {
  return bridge.syscall(SYS.readv, fd, iovec, count);
}

export function writev(fd: number, iovec: Uint32Array, count: number): number {
  return bridge.syscall(SYS.writev, fd, iovec, count);
}

/** Waits until the file's data is on stable storage. */
export function fdatasync(fd: number): number {
  return bridge.syscallBlocking(SYS.fdatasync, fd);
}

/** fallocate(2) that may take its time. */
export function tryFallocate(fd: number, mode: number, offset: number, length: number): number {
  return bridge.syscallBlocking(SYS.fallocate, fd, mode, offset, length);
}

/** Where a buffer is in this process; it must be kept alive while the address is used. */
export function addressOf(buffer: ArrayBufferView): number {
  return bridge.addressOf(buffer);
}
