/**
 * Starting programs and learning how they ended.
 *
 * A child is made by fork and goes on in a copy of this runtime until it executes the program, so what it does before
 * (`childSetup`) is ordinary TypeScript. That is sound only while this process has a single thread: the host agent and
 * init start programs, a VMM does not.
 */

import { messageOf, ThimbleError } from "../base/errors.ts";
import { bytes, i32, struct, u32, u64 } from "../base/layout.ts";
import { check, ECHILD, EINTR, ESRCH, SystemError } from "./errno.ts";
import { close, O_RDWR, open, pipe, read, writeAll } from "./fs.ts";
import { EPOLLIN, type EventLoop } from "./loop.ts";
import { resetSignalsInChild, SIGCHLD } from "./signals.ts";
import { SYS } from "./syscall-numbers.ts";
import { cString, utf8Decode, utf8Encode } from "./text.ts";

const CLONE_PIDFD = 0x1000;
const CLOSE_RANGE_CLOEXEC = 4;
const F_DUPFD_CLOEXEC = 1030;
/** Descriptors are moved to here and above before they are put in place, so that none overwrites another. */
const PARKING = 200;
const EXIT_SETUP_FAILED = 127;

/** How a process ended. */
export type ExitStatus = { readonly exitCode: number } | { readonly signal: number };

export interface SpawnOptions {
  /** The program file. */
  readonly path: string;
  /** All of argv, the name first; `[path]` when not given. */
  readonly argv?: readonly string[];
  /** The whole environment; empty when not given. */
  readonly env?: Readonly<Record<string, string>>;
  /** Descriptors of this process that become 0, 1 and 2 of the child. null is /dev/null. */
  readonly stdin?: number | null;
  readonly stdout?: number | null;
  readonly stderr?: number | null;
  /** More descriptors: `as` is the number in the child (3 and up, below 200). All others are closed. */
  readonly fds?: readonly { readonly fd: number; readonly as: number }[];
  /** Runs in the child, last before the program: namespaces, limits, user. What it throws, `spawn` throws. */
  readonly childSetup?: () => void;
}

export interface ChildProcess {
  readonly pid: number;
  /** Becomes readable when the process ends; the caller closes it (`onExit` does). */
  readonly pidfd: number;
}

/** An array of C strings with a null at its end, as execve wants it. The strings must be kept alive meanwhile. */
function pointerArray(strings: readonly Uint8Array[]): BigUint64Array {
  const pointers = new BigUint64Array(strings.length + 1);
  strings.forEach((text, i) => {
    pointers[i] = BigInt(bridge.addressOf(text));
  });
  return pointers;
}

/** Runs in the child: never returns. A failure is told to the parent through the pipe `report`. */
function becomeProgram(options: SpawnOptions, report: number): never {
  let failure: unknown;
  try {
    resetSignalsInChild();
    const nullFd = open("/dev/null", O_RDWR);
    const wanted = [
      { fd: options.stdin ?? nullFd, as: 0 },
      { fd: options.stdout === undefined ? 1 : (options.stdout ?? nullFd), as: 1 },
      { fd: options.stderr === undefined ? 2 : (options.stderr ?? nullFd), as: 2 },
      ...(options.fds ?? []),
    ];
    const parkedReport = check(
      bridge.syscall(SYS.fcntl, report, F_DUPFD_CLOEXEC, PARKING),
      "fcntl",
      "report pipe",
    );
    bridge.syscall(SYS.close_range, 3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
    report = parkedReport;
    const parked = wanted.map(({ fd }) =>
      check(bridge.syscall(SYS.fcntl, fd, F_DUPFD_CLOEXEC, PARKING), "fcntl", `fd ${fd}`),
    );
    wanted.forEach(({ as }, i) => {
      check(bridge.syscall(SYS.dup2, parked[i] as number, as), "dup2", `fd ${as}`);
    });
    options.childSetup?.();
    const argv = (options.argv ?? [options.path]).map(cString);
    const env = Object.entries(options.env ?? {}).map(([name, value]) => cString(`${name}=${value}`));
    const path = cString(options.path);
    const argvPointers = pointerArray(argv);
    const envPointers = pointerArray(env);
    check(bridge.syscall(SYS.execve, path, argvPointers, envPointers), "execve", options.path);
  } catch (error) {
    failure = error;
  }
  const message =
    failure instanceof SystemError
      ? { errno: failure.errno, call: failure.call, object: failure.object }
      : { text: messageOf(failure) };
  writeAll(report, utf8Encode(JSON.stringify(message)));
  exit(EXIT_SETUP_FAILED);
}

/**
 * Starts a program and returns once it runs. Throws SystemError when it cannot be executed, and
 * ThimbleError("spawn_failed") when `childSetup` threw something else.
 */
export function spawn(options: SpawnOptions): ChildProcess {
  const [reportIn, reportOut] = pipe();
  const pidfd = new Int32Array(1);
  const pid = bridge.syscall(SYS.clone, CLONE_PIDFD | SIGCHLD, null, pidfd, null, null);
  if (pid === 0) becomeProgram(options, reportOut);
  close(reportOut);
  let report: string;
  try {
    check(pid, "clone", options.path);
    report = readReport(reportIn); // ends when the child has executed the program, which closes its end
  } finally {
    close(reportIn);
  }
  if (report === "") return { pid, pidfd: pidfd[0] as number };
  waitProcess(pidfd[0] as number, true);
  close(pidfd[0] as number);
  const failure = JSON.parse(report) as { errno?: number; call?: string; object?: string; text?: string };
  if (failure.errno !== undefined)
    throw new SystemError(failure.errno, failure.call ?? "execve", failure.object);
  throw new ThimbleError("spawn_failed", `${options.path} could not be started: ${failure.text}`);
}

function readReport(fd: number): string {
  const buffer = new Uint8Array(4096);
  let used = 0;
  for (;;) {
    const size = read(fd, buffer.subarray(used));
    if (size === 0) return utf8Decode(buffer.subarray(0, used));
    used += size;
  }
}

const P_PIDFD = 3;
const WNOHANG = 1;
const WEXITED = 4;
const CLD_EXITED = 1;
/** siginfo_t as waitid(2) fills it in, x86-64. */
const SignalInfo = struct("siginfo_t", "include/uapi/asm-generic/siginfo.h", {
  signal: i32,
  errno: i32,
  code: i32,
  padding: i32,
  pid: i32,
  uid: u32,
  status: i32,
  rest: bytes(100),
});

/** How the process ended; null while it runs. `wait` waits for it, without the runtime lock. */
export function waitProcess(pidfd: number, wait = false): ExitStatus | null {
  const info = new Uint8Array(SignalInfo.size);
  for (;;) {
    const result = bridge.syscallBlocking(
      SYS.waitid,
      P_PIDFD,
      pidfd,
      info,
      wait ? WEXITED : WEXITED | WNOHANG,
      null,
    );
    if (result === -EINTR) continue;
    check(result, "waitid", `pidfd ${pidfd}`);
    const { pid, code, status } = SignalInfo.decode(info);
    if (pid === 0) return null;
    return code === CLD_EXITED ? { exitCode: status } : { signal: status };
  }
}

/** Calls back, once, when the process has ended, and closes its pidfd. The returned function calls that off. */
export function onExit(
  loop: EventLoop,
  child: ChildProcess,
  callback: (status: ExitStatus) => void,
): () => void {
  const watch = loop.watch(child.pidfd, EPOLLIN, () => {
    const status = waitProcess(child.pidfd);
    if (status === null) return;
    finish();
    callback(status);
  });
  let done = false;
  const finish = () => {
    if (done) return;
    done = true;
    watch.close();
    close(child.pidfd);
  };
  return finish;
}

/** Resolves when the process has ended, and closes its pidfd. */
export function exitOf(loop: EventLoop, child: ChildProcess): Promise<ExitStatus> {
  return new Promise((resolve) => {
    onExit(loop, child, resolve);
  });
}

/**
 * Takes one ended child, whichever it is: for PID 1, which inherits those of others. null when there is none.
 * It takes the status away from `onExit` too, so a process uses one or the other.
 */
export function reapAny(): { readonly pid: number; readonly status: ExitStatus } | null {
  const word = new Int32Array(1);
  const pid = bridge.syscall(SYS.wait4, -1, word, WNOHANG, null);
  if (pid === 0 || pid === -ECHILD) return null;
  check(pid, "wait4");
  return { pid, status: decodeWaitStatus(word[0] as number) };
}

/** The status word of wait4(2). */
export function decodeWaitStatus(word: number): ExitStatus {
  const signal = word & 0x7f;
  return signal === 0 ? { exitCode: (word >> 8) & 0xff } : { signal };
}

/** `exit status 3` or `killed by signal 9`. */
export function describeExit(status: ExitStatus): string {
  return "exitCode" in status ? `exit status ${status.exitCode}` : `killed by signal ${status.signal}`;
}

/** Sends a signal; says whether the process was there. */
export function kill(pid: number, signal: number): boolean {
  return bridge.syscall(SYS.kill, pid, signal) === 0;
}

/** Sends a signal to the process that the pidfd stands for, never to another that got its number since. */
export function killPidfd(pidfd: number, signal: number): boolean {
  return bridge.syscall(SYS.pidfd_send_signal, pidfd, signal, null, 0) === 0;
}

/** A pidfd for any running process, which the caller closes; null when none has this id. Throws SystemError. */
export function openPidfd(pid: number): number | null {
  const result = bridge.syscall(SYS.pidfd_open, pid, 0);
  return result === -ESRCH ? null : check(result, "pidfd_open", `process ${pid}`);
}

/** Interrupts a thread of this process in its system call (SIGUSR1; see Bridge.startIoctlThread). */
export function interruptThread(threadId: number): void {
  const SIGUSR1 = 10;
  bridge.syscall(SYS.tgkill, getpid(), threadId, SIGUSR1);
}

export function getpid(): number {
  return bridge.syscall(SYS.getpid);
}

/** Ends this process at once, with all its threads. */
export function exit(status: number): never {
  bridge.syscall(SYS.exit_group, status);
  throw new Error("exit_group returned");
}

const Rlimit = struct("rlimit64", "include/uapi/linux/resource.h", { soft: u64, hard: u64 });
export const RLIMIT_CORE = 4;
export const RLIMIT_NOFILE = 7;
export const RLIMIT_MEMLOCK = 8;
export const RLIMIT_AS = 9;

/** Sets a resource limit of this process, soft and hard alike. */
export function setResourceLimit(resource: number, value: number): void {
  const limit = Rlimit.encode({ soft: value, hard: value });
  check(bridge.syscall(SYS.prlimit64, 0, resource, limit, null), "prlimit64");
}
