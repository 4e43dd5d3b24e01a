/** Signals as events: blocked from interrupting, read from a signalfd(2). */
import { bytes, i32, packed, u32 } from "../base/layout.ts";
import { check, EAGAIN } from "./errno.ts";
import { EPOLLIN, type EventLoop } from "./loop.ts";
import { SYS } from "./syscall-numbers.ts";

export const SIGHUP = 1;
export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGKILL = 9;
export const SIGUSR1 = 10;
export const SIGUSR2 = 12;
export const SIGPIPE = 13;
export const SIGALRM = 14;
export const SIGTERM = 15;
export const SIGCHLD = 17;
export const SIGCONT = 18;
export const SIGSTOP = 19;
export const SIGWINCH = 28;
/** Power failure; what Ctrl-Alt-Del and the power button may be told to send PID 1. */
export const SIGPWR = 30;

const SIG_BLOCK = 0;
const SIG_SETMASK = 2;
const SIGNAL_SET_BYTES = 8;
const SFD_FLAGS = 0o2004000; // SFD_CLOEXEC | SFD_NONBLOCK

const SignalfdInfo = packed("signalfd_siginfo", "include/uapi/linux/signalfd.h", {
  signal: u32,
  errno: i32,
  code: i32,
  pid: u32,
  uid: u32,
  rest: bytes(108),
});

function signalSet(signals: readonly number[]): Uint32Array {
  const set = new Uint32Array(2);
  for (const signal of signals) {
    const bit = signal - 1;
    set[bit >> 5] = (set[bit >> 5] as number) | (1 << (bit & 31));
  }
  return set;
}

/**
 * From now on these signals are calls on the main thread. `senderPid` is 0 for those the kernel sends itself.
 * Call it before threads are started: they inherit the blocking. The returned function ends the calls; the signals
 * stay blocked.
 */
export function watchSignals(
  loop: EventLoop,
  signals: readonly number[],
  callback: (signal: number, senderPid: number) => void,
): () => void {
  const set = signalSet(signals);
  check(bridge.syscall(SYS.rt_sigprocmask, SIG_BLOCK, set, null, SIGNAL_SET_BYTES), "rt_sigprocmask");
  const fd = check(bridge.syscall(SYS.signalfd4, -1, set, SIGNAL_SET_BYTES, SFD_FLAGS), "signalfd4");
  const info = new Uint8Array(SignalfdInfo.size);
  let open = true;
  const watch = loop.watch(fd, EPOLLIN, () => {
    while (open) {
      const size = bridge.syscall(SYS.read, fd, info, info.length);
      if (size === -EAGAIN) return;
      check(size, "read", "signalfd");
      const { signal, pid } = SignalfdInfo.decode(info);
      callback(signal, pid);
    }
  });
  return () => {
    if (!open) return;
    open = false;
    watch.close();
    bridge.syscall(SYS.close, fd);
  };
}

/**
 * In a child before it executes a program: no signal blocked, and SIGPIPE, which this runtime ignores, as programs
 * expect it. (Ignoring is inherited over execve, a handler is not.)
 */
export function resetSignalsInChild(): void {
  const defaultAction = new Uint8Array(32); // struct kernel_sigaction: SIG_DFL, no flags, no restorer, empty mask
  check(bridge.syscall(SYS.rt_sigaction, SIGPIPE, defaultAction, null, SIGNAL_SET_BYTES), "rt_sigaction");
  check(
    bridge.syscall(SYS.rt_sigprocmask, SIG_SETMASK, signalSet([]), null, SIGNAL_SET_BYTES),
    "rt_sigprocmask",
  );
}
