import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { ThimbleError } from "../base/errors.ts";
import { runLogged } from "./logged-process.ts";

describe("logged processes", () => {
  const root = mkdtempSync(join(tmpdir(), "thimble-logged-"));
  after(() => rmSync(root, { recursive: true }));
  const logFile = join(root, "log/tool.log");

  test("output of both streams goes to the log and to the listener", async () => {
    const lines: string[] = [];
    await runLogged("sh", ["-c", "echo out; echo err >&2; echo $WORD"], {
      cwd: root,
      logFile,
      environment: { WORD: "word" },
      onLine: (line) => lines.push(line),
    });
    assert.deepEqual(lines.sort(), ["err", "out", "word"]);
    for (const line of lines) assert.ok(readFileSync(logFile, "utf8").includes(`${line}\n`));
  });

  test("a failure names the exit code, the last lines and the log", async () => {
    const script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do echo line $i; done; exit 3";
    await assert.rejects(runLogged("sh", ["-c", script], { cwd: root, logFile }), (error) => {
      assert.ok(error instanceof ThimbleError && error.code === "build_tool_failed");
      assert.match(error.message, /^sh ended with 3: line 3\n[\s\S]*line 17\nLog: .*tool\.log$/);
      return true;
    });
  });

  test("a program that does not exist is a failure", async () => {
    await assert.rejects(runLogged("no-such-program", [], { cwd: root, logFile }), ThimbleError);
  });
});
