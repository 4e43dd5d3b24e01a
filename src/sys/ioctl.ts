/** ioctl(2) and how its request numbers are made (include/uapi/asm-generic/ioctl.h). */
import type { SyscallArgument } from "./bridge.ts";
import { check } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";

const WRITE = 1;
const READ = 2;

function request(direction: number, type: number, number: number, sizeBytes: number): number {
  return ((direction << 30) | (sizeBytes << 16) | (type << 8) | number) >>> 0;
}

/** A request without an argument, or with a plain number as argument. */
export function io(type: number, number: number): number {
  return request(0, type, number, 0);
}

/** A request that fills a structure of `sizeBytes`. */
export function ior(type: number, number: number, sizeBytes: number): number {
  return request(READ, type, number, sizeBytes);
}

/** A request that takes a structure. */
export function iow(type: number, number: number, sizeBytes: number): number {
  return request(WRITE, type, number, sizeBytes);
}

/** A request that takes a structure and changes it. */
export function iowr(type: number, number: number, sizeBytes: number): number {
  return request(READ | WRITE, type, number, sizeBytes);
}

/** Makes the request; `name` is what an error calls it. Throws SystemError. */
export function ioctl(fd: number, requestNumber: number, argument: SyscallArgument, name: string): number {
  return check(bridge.syscall(SYS.ioctl, fd, requestNumber, argument), name);
}

/** The same, returning a negative errno instead of throwing. */
export function tryIoctl(fd: number, requestNumber: number, argument: SyscallArgument): number {
  return bridge.syscall(SYS.ioctl, fd, requestNumber, argument);
}
