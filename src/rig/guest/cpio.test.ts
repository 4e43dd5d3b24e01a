import assert from "node:assert/strict";
import { test } from "node:test";
import { cpioArchive } from "./cpio.ts";

test("headers, names and contents are aligned to four bytes and the archive ends with its trailer", () => {
  const archive = cpioArchive([
    { path: "bin", kind: "directory" },
    { path: "bin/sh", kind: "link", content: "busybox" },
    { path: "init", kind: "file", permissions: 0o755, content: "#!" },
  ]);
  const names: string[] = [];
  let at = 0;
  while (at < archive.length) {
    assert.equal(archive.subarray(at, at + 6).toString(), "070701");
    const field = (index: number): number =>
      Number.parseInt(archive.subarray(at + 6 + index * 8, at + 14 + index * 8).toString(), 16);
    const [size, nameSize] = [field(6), field(11)];
    names.push(archive.subarray(at + 110, at + 110 + nameSize - 1).toString());
    const contentAt = (at + 110 + nameSize + 3) & ~3;
    at = (contentAt + size + 3) & ~3;
  }
  assert.equal(at, archive.length);
  assert.deepEqual(names, ["bin", "bin/sh", "init", "TRAILER!!!"]);
});
