import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { qemuFixLibrary } from "./qemu-fix.ts";

test("a program's cpu_clear_ignne does nothing any more, and QEMU has one that can be found", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-qemu-fix-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const source = join(directory, "program.c");
  const program = join(directory, "program");
  writeFileSync(
    source,
    `int called;
     __attribute__((noinline)) void cpu_clear_ignne(void) { called = 7; }
     int main(void) { cpu_clear_ignne(); return called; }`,
  );
  execFileSync("gcc", ["-O0", "-rdynamic", "-o", program, source]);
  const library = await qemuFixLibrary();
  assert.equal(spawnSync(program).status, 7);
  assert.equal(spawnSync(program, { env: { LD_PRELOAD: library } }).status, 0);

  const qemu = execFileSync("sh", ["-c", "command -v qemu-system-x86_64"], { encoding: "utf8" }).trim();
  assert.match(
    execFileSync("nm", ["-D", "--defined-only", qemu], { encoding: "utf8" }),
    / T cpu_clear_ignne$/m,
  );
});
