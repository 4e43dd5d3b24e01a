import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { identityConstants, readIdentity } from "./identity.ts";

test("version and day come from package.json and the last commit, or the file's age", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "thimble-identity-"));
  t.after(() => rmSync(root, { recursive: true }));
  const file = join(root, "package.json");
  writeFileSync(file, '{ "version": "1.2.3" }');
  utimesSync(file, 86_400 * 10 + 5, 86_400 * 10 + 5);
  assert.deepEqual(await readIdentity(root), { version: "1.2.3", buildMs: 864_000_000 });

  const git = (...args: string[]) =>
    execFileSync("git", ["-C", root, "-c", "user.name=a", "-c", "user.email=a@b", ...args], {
      env: { ...process.env, GIT_COMMITTER_DATE: "@172900 +0000" },
    });
  git("init", "-q");
  git("commit", "-q", "--allow-empty", "-m", "first");
  const identity = await readIdentity(root);
  assert.equal(identity.buildMs, 172_800_000);
  assert.deepEqual(identityConstants(identity), {
    THIMBLE_VERSION: '"1.2.3"',
    THIMBLE_BUILD_MS: "172800000",
  });
});
