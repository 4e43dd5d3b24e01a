/** Error numbers of Linux (include/uapi/asm-generic/errno-base.h, errno.h) and the exception that carries one. */
import { ThimbleError } from "../base/errors.ts";

export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const EBADF = 9;
export const ECHILD = 10;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const EXDEV = 18;
export const ENODEV = 19;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const ENOTTY = 25;
export const EFBIG = 27;
export const ENOSPC = 28;
export const ESPIPE = 29;
export const EROFS = 30;
export const EPIPE = 32;
export const ERANGE = 34;
export const ENOSYS = 38;
export const ENOTEMPTY = 39;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ENETDOWN = 100;
export const ENETUNREACH = 101;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const ENOTCONN = 107;
export const ETIMEDOUT = 110;
export const ENODATA = 61;
export const ENOLINK = 67;
export const EREMOTEIO = 121;
export const EDQUOT = 122;
export const ECONNREFUSED = 111;
export const EHOSTUNREACH = 113;
export const EALREADY = 114;
export const EINPROGRESS = 115;
export const ECANCELED = 125;

/** Name and meaning of each, as one text: a table of strings is smaller in bytecode than a table of objects. */
const TEXTS: Readonly<Record<number, string>> = {
  [EPERM]: "EPERM operation not permitted",
  [ENOENT]: "ENOENT no such file or directory",
  [ESRCH]: "ESRCH no such process",
  [EINTR]: "EINTR interrupted by a signal",
  [EIO]: "EIO input/output error",
  [ENXIO]: "ENXIO no such device or address",
  [EBADF]: "EBADF bad file descriptor",
  [ECHILD]: "ECHILD no child process",
  [EAGAIN]: "EAGAIN not ready, try again",
  [ENOMEM]: "ENOMEM out of memory",
  [EACCES]: "EACCES permission denied",
  [EFAULT]: "EFAULT bad address",
  [EBUSY]: "EBUSY device or resource busy",
  [EEXIST]: "EEXIST exists already",
  [EXDEV]: "EXDEV on another filesystem",
  [ENODEV]: "ENODEV no such device",
  [ENOTDIR]: "ENOTDIR not a directory",
  [EISDIR]: "EISDIR is a directory",
  [EINVAL]: "EINVAL invalid argument",
  [ENFILE]: "ENFILE too many open files in the system",
  [EMFILE]: "EMFILE too many open files",
  [ENOTTY]: "ENOTTY not a request this device knows",
  [EFBIG]: "EFBIG file too large",
  [ENOSPC]: "ENOSPC no space left",
  [ESPIPE]: "ESPIPE cannot seek",
  [EROFS]: "EROFS read-only filesystem",
  [EPIPE]: "EPIPE the other end is closed",
  [ERANGE]: "ERANGE out of range",
  [ENOSYS]: "ENOSYS not supported by this kernel",
  [ENOTEMPTY]: "ENOTEMPTY directory not empty",
  [EOPNOTSUPP]: "EOPNOTSUPP operation not supported",
  [EADDRINUSE]: "EADDRINUSE address in use",
  [EADDRNOTAVAIL]: "EADDRNOTAVAIL not an address of this host",
  [ENETDOWN]: "ENETDOWN network is down",
  [ENETUNREACH]: "ENETUNREACH network unreachable",
  [ECONNABORTED]: "ECONNABORTED connection aborted",
  [ECONNRESET]: "ECONNRESET connection reset by the peer",
  [ENOBUFS]: "ENOBUFS no buffer space",
  [ENOTCONN]: "ENOTCONN not connected",
  [ETIMEDOUT]: "ETIMEDOUT timed out",
  [ENODATA]: "ENODATA medium error",
  [ENOLINK]: "ENOLINK transport error",
  [EREMOTEIO]: "EREMOTEIO remote input/output error",
  [EDQUOT]: "EDQUOT disk quota used up",
  [ECONNREFUSED]: "ECONNREFUSED connection refused",
  [EHOSTUNREACH]: "EHOSTUNREACH no route to host",
  [EALREADY]: "EALREADY in progress already",
  [EINPROGRESS]: "EINPROGRESS in progress",
  [ECANCELED]: "ECANCELED cancelled",
};

/** `ENOENT` for 2; `errno 999` for a number without a name here. */
export function errnoName(errno: number): string {
  return TEXTS[errno]?.split(" ", 1)[0] ?? `errno ${errno}`;
}

/** What an error number means, in a few words. */
export function errnoText(errno: number): string {
  const text = TEXTS[errno];
  return text === undefined ? "unexpected error" : text.slice(text.indexOf(" ") + 1);
}

/** A system call that failed: which call, on which object, with which errno. Its `code` is `system_error`. */
export class SystemError extends ThimbleError {
  readonly errnoName: string;

  constructor(
    /** Positive. */
    readonly errno: number,
    readonly call: string,
    /** The path, address or device the call was about. */
    readonly object?: string,
  ) {
    const name = errnoName(errno);
    const about = object === undefined ? "" : ` ${object}`;
    super("system_error", `${call}${about} failed: ${errnoText(errno)} (${name})`);
    this.name = "SystemError";
    this.errnoName = name;
  }
}

/** Passes on the result of a system call; throws SystemError when it is a negative errno. */
export function check(result: number, call: string, object?: string): number {
  if (result < 0) throw new SystemError(-result, call, object);
  return result;
}
