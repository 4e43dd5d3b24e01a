/** What PID 1 and the agent do when not all goes well, and without a DHCP server's word. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { cpioArchive } from "../../src/image/cpio.ts";
import type { Task } from "../../src/rig/api-types.ts";
import { fileEntry } from "../../src/rig/guest/archive-entries.ts";
import { makeRunDirectory } from "../../src/rig/paths.ts";
import { SimulatedServer } from "../../src/rig/server.ts";
import { eventually } from "../../src/rig/time.ts";
import {
  hostReadyTimeoutMs,
  startTransparentServer,
  testAccelerator,
  testProduct,
} from "../framework/servers.ts";
import { MiB, TestVm } from "../framework/test-vm.ts";

/** Where the rig's network forwards the API's port to. */
const address = "10.0.2.15";

describe("the host's first process", () => {
  test("uses the address of the kernel's command line; an agent that is killed comes back, its VM goes on", async () => {
    const commandLine = `ip=${address}::10.0.2.2:255.255.255.128:rack7::off:10.0.2.3`;
    const { server, api, host } = await startTransparentServer("e2e-init", { commandLine });
    try {
      assert.match(await host.output("ip -4 addr show dev vswitch0"), /inet 10\.0\.2\.15\/25 /);
      assert.match(await host.output("ip route"), /default via 10\.0\.2\.2 /);
      assert.equal(await host.output("cat /proc/sys/kernel/hostname"), "rack7");

      const guest = await TestVm.boot(api);
      const before = await api.vm(guest.id);
      await api.uploadImage("large", Buffer.alloc(32 * MiB, "something that takes its time to compress"));
      const converting = await api.json<Task>("POST", "/images/large/actions/convert", {
        to: "cut-short",
        format: "vmdk",
      });
      await eventually(hostReadyTimeoutMs, "the beginning of the conversion", async () => {
        const { progressPercent } = await api.json<Task>("GET", `/tasks/${converting.id}`);
        return (progressPercent ?? 0) > 0 || undefined;
      });
      const position = server.console.position;
      // The shell drops the zero bytes between arguments.
      await host.output(
        'for p in /proc/[0-9]*; do [ "$(cat $p/cmdline)" = /proc/self/exeagent ] && kill -9 $(basename $p); done; true',
      );
      const again = await server.waitForApi(hostReadyTimeoutMs, position);
      assert.match(server.console.since(position), /host agent.*signal 9/);
      const after = await again.vm(guest.id);
      assert.equal(after.state, "running");
      assert.equal(after.pid, before.pid);
      const console = await again.console(guest.id);
      console.type("echo still $((40 + 2))\n");
      await console.feed.waitFor(/still 42/, 30_000);
      console.vanish();
      await again.act(guest.id, "force-off");
      // Neither the image that was being made nor who made it is left.
      assert.ok(!(await again.images()).some(({ name }) => name === "cut-short"));
      assert.equal(
        await host.output(
          "find / -xdev -name '.upload-*'; grep -l image-jo[b] /proc/[0-9]*/cmdline 2>/dev/null; true",
        ),
        "",
      );
      again.close();
    } finally {
      api.close();
      await server.cutPower();
    }
  });

  test("a host that cannot start says why on its console, and restarts", async () => {
    const directory = makeRunDirectory("e2e-panic-files");
    const initrd = join(directory.path, "broken.cpio");
    // A file where a file system has to be mounted.
    writeFileSync(initrd, cpioArchive([fileEntry("sys", Buffer.from("in the way"))]));
    const server = await SimulatedServer.start({
      name: "e2e-panic",
      boot: { kind: "direct", kernel: (await testProduct()).image, initrd },
      accelerator: await testAccelerator(),
    });
    try {
      const { end } = await server.console.waitFor(
        /THIMBLE \S+ STOPPED[\s\S]*restarts in 10 seconds/,
        hostReadyTimeoutMs,
      );
      assert.match(server.console.since(0), /\/sys/);
      await server.console.waitFor(/THIMBLE \S+ STOPPED/, hostReadyTimeoutMs, end);
    } finally {
      await server.cutPower();
      directory.remove();
    }
  });
});
