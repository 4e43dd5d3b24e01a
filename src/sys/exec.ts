/** This program's command line, and executing it anew in the same process (execveat(2)). */
import { check } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";
import { cString } from "./text.ts";

/** argv, the program's name first. */
export function commandLine(): readonly string[] {
  return bridge.args;
}

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const O_PATH_CLOEXEC = 0o12000000;
const F_GETFD = 1;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const LAST_FD = 0xffff_ffff;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * A descriptor for this program's own file. To be opened early: later /proc may be out of reach and the file replaced.
 */
export function openOwnExecutable(): number {
  const path = "/proc/self/exe";
  return check(bridge.syscall(SYS.openat, AT_FDCWD, cString(path), O_PATH_CLOEXEC, 0), "open", path);
}

/** Lets a descriptor survive an execve, or not. */
export function setInherited(fd: number, inherited: boolean): void {
  const flags = check(bridge.syscall(SYS.fcntl, fd, F_GETFD, 0), "fcntl", `fd ${fd}`);
  const wanted = inherited ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC;
  check(bridge.syscall(SYS.fcntl, fd, F_SETFD, wanted), "fcntl", `fd ${fd}`);
}

/** Closes all descriptors from 3 on but those given: what the parent left open by mistake. */
export function closeAllBut(kept: readonly number[]): void {
  let first = 3;
  for (const fd of [...kept].sort((a, b) => a - b)) {
    if (fd > first) check(bridge.syscall(SYS.close_range, first, fd - 1, 0), "close_range");
    first = Math.max(first, fd + 1);
  }
  check(bridge.syscall(SYS.close_range, first, LAST_FD, 0), "close_range");
}

/** From now on nothing this process executes can gain privileges (prctl(2)). */
export function forbidNewPrivileges(): void {
  check(bridge.syscall(SYS.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
}

/** From now on this process is killed when the thread that started it ends (prctl(2)). */
export function endWithParent(): void {
  check(bridge.syscall(SYS.prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl");
}

/**
 * Replaces this program by the one `executable` is open on: same process id, all threads gone, all descriptors closed
 * that are close-on-exec, an empty environment. Throws SystemError when the kernel refuses; returns never otherwise.
 */
export function execute(executable: number, argv: readonly string[]): never {
  const strings = argv.map(cString);
  const pointers = new BigUint64Array(strings.length + 1);
  strings.forEach((text, i) => {
    pointers[i] = BigInt(bridge.addressOf(text));
  });
  const environment = new BigUint64Array(1);
  const empty = cString("");
  check(bridge.syscall(SYS.execveat, executable, empty, pointers, environment, AT_EMPTY_PATH), "execveat");
  throw new Error("execveat returned");
}
