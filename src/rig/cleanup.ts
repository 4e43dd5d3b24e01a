/**
 * What must not outlive this process: child processes and temporary files.
 *
 * Everything started registers how to end it at once, synchronously. The registered functions run, newest first, when
 * the process exits for whatever reason it can still see: return, exception, SIGINT, SIGTERM, SIGHUP. Against the
 * reasons it cannot see (SIGKILL), child processes carry a parent-death signal (see process.ts).
 */
import { constants } from "node:os";

const cleanups = new Set<() => void>();
let installed = false;

function runAll(): void {
  for (const cleanup of [...cleanups].reverse()) {
    cleanups.delete(cleanup);
    try {
      cleanup();
    } catch (error) {
      process.stderr.write(`cleanup: ${error}\n`);
    }
  }
}

type EndingSignal = "SIGINT" | "SIGTERM" | "SIGHUP";
const interruptHandlers = new Set<(signal: EndingSignal) => void>();

function onSignal(signal: EndingSignal): void {
  if (interruptHandlers.size > 0) {
    for (const handler of interruptHandlers) handler(signal);
    return;
  }
  process.exit(128 + constants.signals[signal]);
}

function install(): void {
  if (installed) return;
  installed = true;
  process.on("exit", runAll);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => onSignal(signal));
}

/** Registers an action for the end of this process. Returns how to withdraw it. */
export function atExit(cleanup: () => void): () => void {
  install();
  cleanups.add(cleanup);
  return () => cleanups.delete(cleanup);
}

/** While registered, signals that end a program go to `handler` instead. Returns how to withdraw it. */
export function onInterrupt(handler: (signal: EndingSignal) => void): () => void {
  install();
  interruptHandlers.add(handler);
  return () => interruptHandlers.delete(handler);
}
