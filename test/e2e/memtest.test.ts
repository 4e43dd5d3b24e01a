/** A guest that is no Linux but uses Linux's boot protocol: memtest86+. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { debPackage } from "../../src/image/sources.ts";
import { entriesMatching } from "../../src/rig/guest/packages.ts";
import { sharedServer } from "../framework/servers.ts";
import { ensureImage, MiB, removeVm } from "../framework/test-vm.ts";

describe("memtest86+", () => {
  test("starts and tests memory", async () => {
    const { api } = await sharedServer();
    const boot = join(await debPackage("memtest86+", "trixie"), "boot");
    const [program] = entriesMatching(boot, /x64\.bin$/);
    assert.ok(program !== undefined, "the package has no 64-bit program");
    await ensureImage(api, "memtest", join(boot, program));
    const vm = await api.createVm({
      name: "memtest",
      cpus: 1,
      memoryBytes: 64 * MiB,
      boot: { kernel: "memtest", commandLine: "console=ttyS0,115200" },
    });
    try {
      await api.act(vm.id, "start");
      const console = await api.console(vm.id);
      await console.feed.waitFor(/Memtest86\+/i, 60_000);
      // The name of the test that is running: "#5 [Moving inversions, random pattern]".
      await console.feed.waitFor(/#\d+ +\[[A-Z][^\]]+\]/, 120_000);
      console.vanish();
    } finally {
      await removeVm(api, vm.id);
      await api.deleteImage("memtest");
    }
  });
});
