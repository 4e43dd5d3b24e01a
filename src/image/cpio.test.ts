import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../base/random.ts";
import { cpioArchive } from "./cpio.ts";
import { buildInitramfs } from "./initramfs.ts";

/** Runs cpio, which must have nothing to complain about. */
function cpio(args: readonly string[], input: Uint8Array, cwd?: string): string {
  const result = spawnSync("cpio", [...args, "--quiet"], { input, cwd, encoding: "utf8" });
  assert.equal(result.stderr, "");
  assert.equal(result.status, 0);
  return result.stdout;
}

test("cpio lists the initramfs with its types and modes", () => {
  const listing = cpio(["-tv"], buildInitramfs(Buffer.from("program")));
  const lines = listing.trim().split("\n");
  assert.equal(lines.length, 9);
  assert.match(lines[0] as string, /^drwxr-xr-x .* dev$/);
  assert.match(lines[7] as string, /^crw------- .* 5, +1 .* dev\/console$/);
  assert.match(lines[8] as string, /^-rwxr-xr-x +1 root +root +7 .* init$/);
});

test("cpio unpacks files of every length unchanged", () => {
  const random = new SeededRandom(testSeed());
  const directory = mkdtempSync(join(tmpdir(), "thimble-cpio-"));
  try {
    const files = Array.from({ length: 20 }, (_, length) => ({
      kind: "file" as const,
      path: "x".repeat(length + 1),
      mode: 0o644,
      data: random.fill(new Uint8Array(length)),
    }));
    cpio(["-i"], cpioArchive(files), directory);
    for (const file of files) {
      assert.deepEqual(
        readFileSync(join(directory, file.path)),
        Buffer.from(file.data),
        `seed ${random.seed}`,
      );
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("the same program gives the same bytes", () => {
  assert.deepEqual(buildInitramfs(Buffer.from("a")), buildInitramfs(Buffer.from("a")));
});

test("a path without its directory, twice or absolute is refused", () => {
  const directory = (path: string) => ({ kind: "directory" as const, path, mode: 0o755 });
  for (const paths of [["a/b"], ["a", "a"], ["/a"], [""]]) {
    assert.throws(() => cpioArchive(paths.map(directory)), /must be relative/);
  }
});
