/** `npm start`, as a person and as a script use it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { buildDirectory, repositoryRoot } from "../../src/rig/paths.ts";
import { TextFeed } from "../../src/rig/text-feed.ts";
import { testProduct } from "../framework/servers.ts";

const timeoutMs = 240_000;

/** Starts a command and collects what it prints. */
function run(
  command: string,
  args: string[],
): { child: ChildProcess; output: TextFeed; ended: Promise<number | null> } {
  const child = spawn(command, args, { cwd: repositoryRoot, stdio: ["pipe", "pipe", "pipe"] });
  const output = new TextFeed();
  child.stdout?.on("data", (bytes: Buffer) => output.push(bytes));
  child.stderr?.on("data", (bytes: Buffer) => output.push(bytes));
  const ended = new Promise<number | null>((resolve) => {
    child.on("close", (code) => {
      output.end(`The command ended with ${code}`);
      resolve(code);
    });
  });
  return { child, output, ended };
}

/** Directories of servers, and processes whose command line speaks of one. */
function traces(): string[] {
  const directory = join(buildDirectory, "run");
  const directories = existsSync(directory)
    ? readdirSync(directory).filter((name) => name.startsWith("server-"))
    : [];
  const processes = readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`${directory}/server-`);
    } catch {
      return false;
    }
  });
  return [...directories, ...processes];
}

describe("npm start", () => {
  test("--once runs a guest and ends with one JSON object", async () => {
    await testProduct();
    const { child, output, ended } = run(process.execPath, ["scripts/run.mjs", "start", "--once"]);
    child.stdin?.end();
    await output.waitFor(/\{"imageBytes".*\}\s*$/m, timeoutMs);
    assert.equal(await ended, 0);
    const figures = JSON.parse(output.tail(1)) as Record<string, unknown>;
    for (const key of ["imageBytes", "romBytes", "hostReadyMs", "guestReadyMs", "vmmMemoryBytes"]) {
      assert.ok(Number(figures[key]) > 0, `${key} is ${figures[key]}`);
    }
    assert.ok(figures.accelerator === "kvm" || figures.accelerator === "tcg");
    assert.ok(Number(figures.imageBytes) <= 2_700_000, "the image is larger than it may be");
    assert.equal(figures.romBytes, 16 * 1024 * 1024);
    assert.deepEqual(traces(), []);
  });

  for (const [name, keys] of [
    ["Ctrl-C", "\x03"],
    ["the escape sequence", "\x1dq"],
  ] as const) {
    test(`attaches the terminal to the guest; ${name} powers everything off and leaves nothing`, async () => {
      await testProduct();
      // script(1) gives the command the pseudo-terminal that a person would have.
      const { child, output, ended } = run("script", ["-qefc", "node scripts/run.mjs start", "/dev/null"]);
      try {
        const { end } = await output.waitFor(/API\s+http:\/\/127\.0\.0\.1:\d+/, timeoutMs);
        await output.waitFor(/powers everything off/, 10_000, end);
        child.stdin?.write("echo I am in $((40 + 2))\r");
        await output.waitFor(/I am in 42/, 30_000, end);
        child.stdin?.write(keys);
        assert.equal(await ended, 0, output.tail());
        assert.deepEqual(traces(), []);
      } finally {
        child.kill("SIGKILL");
      }
    });
  }

  test("a mistyped option is refused with the options there are", async () => {
    const { output, ended } = run(process.execPath, ["scripts/run.mjs", "start", "--onse"]);
    assert.equal(await ended, 1);
    assert.match(output.since(0), /"--onse" is not an option[\s\S]*--once/);
  });
});
