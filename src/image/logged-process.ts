/** Long build tools: their output goes to a log file, line by line also to a listener. */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { ThimbleError } from "../base/errors.ts";

export interface LoggedRun {
  readonly cwd: string;
  /** Appended to. */
  readonly logFile: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly onLine?: (line: string) => void;
}

const TAIL_LINES = 15;

/**
 * Runs a program to its end. It is told to end (SIGTERM) when this process dies, so that no orphan goes on writing
 * into a tree that the next run believes to be its own.
 * Errors: `build_tool_failed` with the last lines and the log file.
 */
export async function runLogged(program: string, args: readonly string[], run: LoggedRun): Promise<void> {
  mkdirSync(dirname(run.logFile), { recursive: true });
  const log = openSync(run.logFile, "a");
  try {
    writeSync(log, `$ ${program} ${args.join(" ")}\n`);
    const tail: string[] = [];
    const child = spawn("setpriv", ["--pdeathsig", "SIGTERM", "--", "nice", program, ...args], {
      cwd: run.cwd,
      env: { ...process.env, ...run.environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        writeSync(log, `${line}\n`);
        tail.push(line);
        if (tail.length > TAIL_LINES) tail.shift();
        run.onLine?.(line);
      });
    }
    const ended = await new Promise<string>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve(signal ?? String(code)));
    });
    if (ended === "0") return;
    const what = `${program} ended with ${ended}: ${tail.join("\n")}\nLog: ${run.logFile}`;
    throw new ThimbleError("build_tool_failed", what);
  } finally {
    closeSync(log);
  }
}
