/**
 * Builds the runtime with the *.native.ts files of this folder as its bundles and runs them on this machine: they test
 * what only exists in the real runtime. Needs musl-gcc.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { buildRuntime } from "../../image/runtime/build.ts";
import { developmentEngine } from "../../image/runtime/development.ts";

describe("the native runtime", () => {
  const HERE = new URL("./", import.meta.url).pathname;
  const SUITES = ["bridge", "engine", "files", "loop", "memory", "process", "stream", "thread"];
  /** Far more than any takes; it ends a hang, it does not measure. */
  const TIMEOUT_MS = 60_000;

  let outDir = "";
  const programs = { debug: "", release: "" };

  async function build(debug: boolean): Promise<string> {
    const bundles = Object.fromEntries(
      [...SUITES, "failure"].map((name) => [name, join(HERE, `${name}.native.ts`)]),
    );
    const dir = join(outDir, debug ? "debug" : "release");
    return (await buildRuntime({ ...(await developmentEngine()), outDir: dir, bundles, debug })).path;
  }

  before(async () => {
    outDir = await mkdtemp(join(tmpdir(), "thimble-native-"));
    programs.debug = await build(true);
    programs.release = await build(false);
  });
  after(() => rm(outDir, { recursive: true, force: true }));

  type Variant = "debug" | "release";

  function run(variant: Variant, ...args: string[]) {
    return spawnSync(programs[variant], args, { encoding: "utf8", timeout: TIMEOUT_MS });
  }

  test("every native suite is run", async () => {
    const files = (await readdir(HERE)).filter((name) => name.endsWith(".native.ts"));
    assert.deepEqual(files.sort(), [...SUITES, "failure"].map((name) => `${name}.native.ts`).sort());
  });

  async function runSuite(context: TestContext, variant: Variant, suite: string): Promise<void> {
    const result = run(variant, suite);
    let count = 0;
    for (const line of result.stdout.split("\n")) {
      const [, failed, name, stack] = /^(not )?ok (.*?)( ".*")?$/.exec(line) ?? [];
      if (name === undefined) {
        if (line.startsWith("# ")) context.diagnostic(line.slice(2));
        continue;
      }
      count++;
      await context.test(name, () => assert.equal(failed, undefined, stack && JSON.parse(stack)));
    }
    assert.equal(result.stderr, "");
    assert.equal(result.status, 0, `status ${result.status}, signal ${result.signal}`);
    assert.ok(count > 0, "no test reported");
  }

  for (const suite of SUITES) {
    test(`native: ${suite}`, (context) => runSuite(context, "debug", suite));
    test(`native, as released: ${suite}`, (context) => runSuite(context, "release", suite));
  }

  const FAILURES: [string, number, RegExp | null][] = [
    ["throw", 70, /^thimble: uncaught exception: Error: at the top\n {4}at .*failure\.js:\d+/],
    ["callback", 70, /^thimble: uncaught exception: RangeError: in a callback\n {4}at /],
    [
      "rejection",
      70,
      /^thimble: unhandled promise rejection: Error: nobody listens\n(.|\n)*caused by TypeError: the reason\n/,
    ],
    ["thread", 70, /^thimble: uncaught exception: Error: on a thread\n {4}at /],
    ["handled-later", 5, null],
    ["status", 3, null],
  ];
  for (const [way, status, output] of FAILURES) {
    test(`ending by ${way} gives status ${status}`, () => {
      const result = run("debug", "failure", way);
      assert.equal(result.status, status, result.stderr);
      if (output === null) assert.equal(result.stderr, "");
      else assert.match(result.stderr, output);
    });
  }

  test("an unknown role is refused with a sentence", () => {
    const result = run("debug", "no-such-role");
    assert.equal(result.status, 64);
    assert.match(result.stderr, /first argument must be a role/);
  });
});
