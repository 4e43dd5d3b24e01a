/**
 * Tests that need the real runtime: they are bundled, run by the `thimble` binary on the building machine, and report
 * in lines that native.test.ts turns into results of the test runner.
 */

import { SystemError } from "../errno.ts";
import { writeAll } from "../fs.ts";
import { EventLoop } from "../loop.ts";
import { exit } from "../process.ts";
import { utf8Encode } from "../text.ts";

type Body = (loop: EventLoop) => void | Promise<void>;
const tests: { name: string; body: Body }[] = [];

/** Declares a test. A promise is awaited while the loop runs. */
export function test(name: string, body: Body): void {
  tests.push({ name, body });
}

export function print(text: string): void {
  writeAll(1, utf8Encode(`${text}\n`));
}

/** Runs the declared tests one after the other and ends the process: 1 when one failed. */
export function runTests(): void {
  const loop = new EventLoop();
  let failed = 0;
  const all = async () => {
    for (const { name, body } of tests) {
      try {
        await body(loop);
        print(`ok ${name}`);
      } catch (error) {
        failed++;
        const stack = error instanceof Error ? `${error}\n${error.stack}` : String(error);
        print(`not ok ${name} ${JSON.stringify(stack)}`);
      }
    }
    loop.stop(failed === 0 ? 0 : 1);
  };
  loop.post(() => void all());
  exit(loop.run());
}

function text(value: unknown): string {
  if (value instanceof Uint8Array) return `bytes ${value.join(",")}`;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Compares by what JSON shows of both. */
export function equal(actual: unknown, expected: unknown, what = "value"): void {
  if (text(actual) !== text(expected))
    throw new Error(`${what}: ${text(actual)} instead of ${text(expected)}`);
}

export function ok(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** The callback must throw SystemError with this errno. */
export function throwsErrno(errno: number, body: () => void): SystemError {
  try {
    body();
  } catch (error) {
    if (error instanceof SystemError && error.errno === errno) return error;
    throw error;
  }
  throw new Error(`nothing was thrown, errno ${errno} was expected`);
}

/** The callback must throw an error of this class name. */
export function throwsName(name: string, body: () => void): void {
  try {
    body();
  } catch (error) {
    if (error instanceof Error && error.name === name) return;
    throw error;
  }
  throw new Error(`nothing was thrown, ${name} was expected`);
}

/** The error a promise is rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("the promise was not rejected");
}
