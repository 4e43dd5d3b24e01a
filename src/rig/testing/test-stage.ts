/** One part of the test run: a command with a time limit, judged by its exit code or by the tests that it counted. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { atExit } from "../cleanup.ts";
import { buildDirectory, repositoryRoot } from "../paths.ts";

export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

/** Runs a command with output on the terminal; false when it failed or took longer than `timeoutMs`. */
function runCommand(command: string, args: readonly string[], timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: repositoryRoot, stdio: ["ignore", "inherit", "inherit"] });
    const withdraw = atExit(() => child.kill("SIGTERM"));
    const timer = setTimeout(() => {
      process.stdout.write(`  took longer than ${timeoutMs / 60_000} min: ended\n`);
      // SIGTERM lets it end the servers it started; SIGKILL would, too, but without removing their files.
      child.kill("SIGTERM");
      setTimeout(() => child.kill("SIGKILL"), 10_000).unref();
    }, timeoutMs);
    const finish = (ok: boolean): void => {
      clearTimeout(timer);
      withdraw();
      resolve(ok);
    };
    child.on("error", () => finish(false));
    child.on("close", (code) => finish(code === 0));
  });
}

/** A check that passes or fails as a whole counts as one test. */
export async function checkStage(
  name: string,
  command: string,
  args: readonly string[],
  timeoutMs: number,
): Promise<Counts> {
  const ok = await runCommand(command, args, timeoutMs);
  process.stdout.write(`${ok ? "✔" : "✖"} ${name}\n`);
  return ok ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** Runs test files in one process and counts their tests. A process that ends badly is a failure of its own. */
export async function testFilesStage(
  name: string,
  files: readonly string[],
  timeoutMs: number,
): Promise<Counts> {
  if (files.length === 0) return { passed: 0, failed: 0 };
  mkdirSync(join(buildDirectory, "log"), { recursive: true });
  const tap = join(buildDirectory, "log", `${name}.tap`);
  rmSync(tap, { force: true });
  const ok = await runCommand(
    process.execPath,
    [
      ...["--import", "tsx"],
      ...["--test-reporter=spec", "--test-reporter-destination=stdout"],
      ...["--test-reporter=tap", `--test-reporter-destination=${tap}`],
      ...["src/rig/testing/run-files.ts", ...files],
    ],
    timeoutMs,
  );
  const counts = readCounts(existsSync(tap) ? readFileSync(tap, "utf8") : "");
  if (!ok && counts.failed === 0) {
    process.stdout.write(`✖ ${name}: the test process ended before it was done\n`);
    return { passed: counts.passed, failed: 1 };
  }
  return counts;
}

/** The closing lines of a TAP report by node:test. */
export function readCounts(tap: string): Counts {
  const number = (key: string): number => Number(new RegExp(`^# ${key} (\\d+)$`, "m").exec(tap)?.[1] ?? 0);
  return { passed: number("pass"), failed: number("fail") + number("cancelled") };
}

export function add(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed };
}
