import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { after, describe, test } from "node:test";
import { TextFeed } from "../text-feed.ts";
import { GuestShell } from "./shell.ts";

/** A real shell on a real pseudo-terminal (util-linux's script), the closest thing to a guest's console. */
function localShell(): { child: ChildProcess; feed: TextFeed; type(text: string): void } {
  const child = spawn("script", ["-qfec", "sh", "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
  const feed = new TextFeed();
  child.stdout?.on("data", (bytes: Buffer) => feed.push(bytes));
  child.on("close", () => feed.end("The shell ended"));
  return { child, feed, type: (text) => child.stdin?.write(text) };
}

describe("a shell over a console", () => {
  const local = localShell();
  const opened = GuestShell.takeOver(local, 10_000);
  after(() => local.child.kill("SIGKILL"));

  test("gives output and status apart", async () => {
    const shell = await opened;
    assert.deepEqual(await shell.run("echo one; echo two >&2; (exit 7)"), { status: 7, output: "one\ntwo" });
    assert.deepEqual(await shell.run("printf no-newline"), { status: 0, output: "no-newline" });
    assert.deepEqual(await shell.run("true"), { status: 0, output: "" });
  });

  test("keeps its state between commands", async () => {
    const shell = await opened;
    await shell.run("cd /; variable=kept");
    assert.equal(await shell.output('echo "$PWD $variable"'), "/ kept");
  });

  test("is not confused by other text on the console", async () => {
    const shell = await opened;
    const result = shell.run("sleep 0.2; echo answer");
    local.feed.push(new TextEncoder().encode("[    1.234] a kernel message @with-end 0@\r\n"));
    assert.match((await result).output, /answer$/);
  });

  test("a failing command is an error with its output", async () => {
    const shell = await opened;
    await assert.rejects(shell.output("echo why; false"), { code: "guest_command_failed", message: /why/ });
    await assert.rejects(shell.run("x".repeat(5000)), { code: "command_too_long" });
  });

  test("a command that takes too long is an error, and the next ones work", async () => {
    const shell = await opened;
    await assert.rejects(shell.run("sleep 1", 100), { code: "console_timed_out" });
    assert.equal(await shell.output("echo after"), "after");
  });
});
