import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { buildRuntime } from "../../image/runtime/build.ts";
import { developmentEngine } from "../../image/runtime/development.ts";

test("backends on real files and sockets", async (context) => {
  // Two filesystems: tmpfs cannot zero a range in place, the other may.
  const directories = [await mkdtemp(join(tmpdir(), "thimble-backends-"))];
  if (existsSync("/dev/shm")) directories.push(await mkdtemp("/dev/shm/thimble-backends-"));
  try {
    const fixture = fileURLToPath(new URL("backends.fixture.ts", import.meta.url));
    const runtime = await buildRuntime({
      ...(await developmentEngine()),
      outDir: join(directories[0] as string, "out"),
      debug: true,
      bundles: { fixture },
    });
    for (const directory of directories) {
      const result = spawnSync(runtime.path, [directory], { encoding: "utf8", timeout: 60_000 });
      let count = 0;
      for (const line of result.stdout.split("\n")) {
        const [, failed, name, stack] = /^(not )?ok (.*?)( ".*")?$/.exec(line) ?? [];
        if (name === undefined) continue;
        count++;
        await context.test(`${name} (${directory.startsWith("/dev/shm") ? "tmpfs" : "disk"})`, () =>
          assert.equal(failed, undefined, stack && JSON.parse(stack)),
        );
      }
      assert.ok(count > 0, `nothing was reported: ${result.stderr}`);
      assert.equal(result.status, 0, result.stderr);
    }
  } finally {
    for (const directory of directories) await rm(directory, { recursive: true, force: true });
  }
});
