import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { access, constants, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { buildRuntime } from "../../image/runtime/build.ts";
import { developmentEngine } from "../../image/runtime/development.ts";

/** Why this cannot run here, or false. */
async function skipReason(): Promise<string | false> {
  try {
    await access("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return "/dev/kvm is not there or not ours to use";
  }
  return false;
}

test("a guest of a few instructions runs on /dev/kvm: ports, MMIO, doorbell, interrupt, power-off", {
  skip: await skipReason(),
}, async () => {
  const outDir = await mkdtemp(join(tmpdir(), "thimble-kvm-"));
  try {
    const fixture = fileURLToPath(new URL("tiny-guest.fixture.ts", import.meta.url));
    const runtime = await buildRuntime({
      ...(await developmentEngine()),
      outDir,
      debug: true,
      bundles: { fixture },
    });
    const { stdout } = await promisify(execFile)(runtime.path, [], { timeout: 30_000 });
    const { seen, exits, status } = JSON.parse(stdout) as { seen: string[]; exits: number; status: number };
    assert.deepEqual(seen, [
      "A",
      "x",
      "y",
      "z",
      "Z",
      "mmio 16.2=1234",
      "0x1202",
      "doorbell",
      "I",
      "power off",
    ]);
    assert.ok(exits >= 8, `${exits} exits`);
    assert.equal(status, 0);
  } finally {
    await rm(outDir, { recursive: true, force: true });
  }
});
