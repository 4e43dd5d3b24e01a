/** Log lines for people: `[  12.345] vmm: text` on stderr, or through the kernel's log (/dev/kmsg) before there is one. */
import { uptimeMs } from "./clock.ts";
import { SYS } from "./syscall-numbers.ts";
import { cString, utf8Encode } from "./text.ts";

export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Kernel log priorities of the levels (KERN_ERR, KERN_WARNING, KERN_INFO, KERN_DEBUG). */
const KERNEL_PRIORITY = [3, 4, 6, 7];
/** The kernel cuts a record off at 1024 bytes with its prefix (PRINTKRB_RECORD_MAX). */
const KERNEL_LINE_MAX = 900;
const O_WRONLY_CLOEXEC = 0o2000001;
const AT_FDCWD = -100;

export interface Logger {
  error(text: string): void;
  warn(text: string): void;
  info(text: string): void;
  debug(text: string): void;
}

/** Takes a line, without its end, and its level as an index into LOG_LEVELS. */
export type LogSink = (line: string, level: number) => void;

/** A logger that puts `prefix: ` before each line and passes on those up to `level`. */
export function createLogger(prefix: string, level: LogLevel = "info", sink: LogSink = stderrSink): Logger {
  const limit = LOG_LEVELS.indexOf(level);
  const at = (own: number) => (text: string) => {
    if (own <= limit) sink(`${prefix}: ${text}`, own);
  };
  return { error: at(0), warn: at(1), info: at(2), debug: at(3) };
}

/** Passes `max` messages on, then says once that the rest is dropped: for what an outsider can cause without end. */
export function limited(log: (text: string) => void, max: number): (text: string) => void {
  let count = 0;
  return (text) => {
    count++;
    if (count <= max) log(text);
    else if (count === max + 1) log(`${max} messages of this kind are enough: more are dropped`);
  };
}

/** To stderr, stamped with the seconds since power-on. A full pipe loses lines rather than stopping the process. */
export function stderrSink(line: string, level: number): void {
  const mark = level < 2 ? `${LOG_LEVELS[level]}: ` : "";
  const bytes = utf8Encode(`[${(uptimeMs() / 1000).toFixed(3).padStart(9)}] ${mark}${line}\n`);
  bridge.syscall(SYS.write, 2, bytes, bytes.length);
}

/** To the kernel's log, which also shows it on the console; stderr when that cannot be opened. */
export function kernelLogSink(): LogSink {
  const fd = bridge.syscall(SYS.openat, AT_FDCWD, cString("/dev/kmsg"), O_WRONLY_CLOEXEC, 0);
  if (fd < 0) return stderrSink;
  return (line, level) => {
    for (const part of line.split("\n")) {
      const bytes = utf8Encode(`<${KERNEL_PRIORITY[level] ?? 6}>${part.slice(0, KERNEL_LINE_MAX)}\n`);
      bridge.syscall(SYS.write, fd, bytes, bytes.length);
    }
  };
}
