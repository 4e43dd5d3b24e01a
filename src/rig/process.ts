/** Child processes that end with this one, however it ends. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import { ThimbleError } from "../base/errors.ts";
import { atExit } from "./cleanup.ts";

/** How a process ended: an exit code, or the signal that ended it. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface OwnedProcess {
  readonly pid: number;
  readonly child: ChildProcess;
  /** File descriptors 3 and up as connected streams. */
  readonly channels: readonly Duplex[];
  /** Resolves when the process has ended; never rejects. */
  readonly ended: Promise<ProcessEnd>;
  /** SIGKILL, and wait for the end. */
  kill(): Promise<ProcessEnd>;
}

export interface OwnedProcessOptions {
  readonly cwd?: string;
  /** How many extra connected sockets the child gets, as descriptors 3, 4, … Default 0. */
  readonly channels?: number;
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * Starts a program that is killed with this process. `setpriv` (util-linux) sets the parent-death signal, so the
 * program also ends when this process is killed by SIGKILL.
 * Errors: `program_failed_to_start`.
 */
export async function startOwned(
  command: string,
  args: readonly string[],
  options: OwnedProcessOptions = {},
): Promise<OwnedProcess> {
  const extra = Array.from({ length: options.channels ?? 0 }, () => "pipe" as const);
  const child = spawn("setpriv", ["--pdeathsig", "SIGKILL", "--", command, ...args], {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ["pipe", "pipe", "pipe", ...extra],
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (error) =>
      reject(new ThimbleError("program_failed_to_start", `${command} did not start: ${error.message}.`)),
    );
  });
  // A write to a program that has just ended is no reason to end as well.
  child.stdin?.on("error", () => {});
  const channels = child.stdio.slice(3) as unknown as Duplex[];
  for (const channel of channels) channel.on("error", () => {});
  const withdraw = atExit(() => child.kill("SIGKILL"));
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once("close", (code, signal) => {
      withdraw();
      resolve({ code, signal });
    });
  });
  return {
    pid: child.pid as number,
    child,
    channels,
    ended,
    kill() {
      child.kill("SIGKILL");
      return ended;
    },
  };
}

/** "exit code 1" or "signal SIGKILL". */
export function describeEnd(end: ProcessEnd): string {
  return end.signal === null ? `exit code ${end.code}` : `signal ${end.signal}`;
}
