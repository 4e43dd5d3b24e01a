/** UEFI guests, the slower stories: another release's firmware, memory above 4 GiB, resets. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { ConsoleConnection } from "../../src/rig/console-connection.ts";
import { guestSystem } from "../../src/rig/guest/guest-system.ts";
import { type FatFile, makeFatDisk } from "../framework/fat-disk.ts";
import { uploadFirmware } from "../framework/firmware.ts";
import { complaintsCommand, unexpectedComplaints } from "../framework/kernel-log.ts";
import { sharedServer } from "../framework/servers.ts";
import { GiB, MiB, removeVm, TestVm } from "../framework/test-vm.ts";

const vendor = "a3b8c4de-52f1-4a0e-9c11-7f3d5e6b8a90";
const timeoutMs = 180_000;

/** Runs a story with a VM whose disk holds a script for the shell and other files. */
async function withFirmware(
  options: { script: string; files?: Record<string, FatFile>; cpus?: number; memoryBytes?: number },
  suite: "bookworm" | "trixie",
  story: (api: ApiClient, id: string, start: () => Promise<ConsoleConnection>) => Promise<void>,
): Promise<void> {
  const { api } = await sharedServer();
  const { script, files = {}, cpus = 1, memoryBytes = 256 * MiB } = options;
  const disk = makeFatDisk("uefi-long", { ...files, "startup.nsh": script }, 40 * MiB);
  await api.uploadImage("uefi-long.img", { path: disk });
  const boot = await uploadFirmware(api, suite);
  const disks = [{ image: "uefi-long.img" }];
  const vm = await api.createVm({ name: "uefi-long", cpus, memoryBytes, boot, disks });
  try {
    await story(api, vm.id, async () => {
      await api.act(vm.id, "start");
      return api.console(vm.id);
    });
  } finally {
    await removeVm(api, vm.id);
    await api.deleteImage("uefi-long.img");
  }
}

describe("UEFI guests, long", () => {
  for (const suite of ["bookworm", "trixie"] as const) {
    test(`Linux with 4 CPUs and 5 GiB starts with the OVMF of ${suite} and has nothing to complain of`, async () => {
      const system = await guestSystem(suite === "bookworm" ? 12 : 13);
      const files = { "linux.efi": { path: system.kernel }, initrd: { path: system.initramfs } };
      const script = "fs0:\n\\linux.efi initrd=\\initrd console=ttyS0\n";
      await withFirmware({ script, files, cpus: 4, memoryBytes: 5 * GiB }, suite, async (api, id, start) => {
        (await start()).vanish();
        const { shell, console } = await TestVm.attach(api, await api.vm(id));
        assert.equal(await shell.output("grep -c ^processor /proc/cpuinfo"), "4");
        const memoryKiB = Number(/MemTotal:\s+(\d+)/.exec(await shell.output("cat /proc/meminfo"))?.[1]);
        assert.ok(memoryKiB * 1024 > 4.6 * GiB, `${memoryKiB} KiB`);
        assert.deepEqual(unexpectedComplaints(await shell.output(complaintsCommand)), []);
        await api.act(id, "shutdown");
        console.vanish();
      });
    });
  }

  test("the firmware's own reset and the API's bring the machine back with its variables", async () => {
    const script = `@echo -off
setvar Resets -guid ${vendor}
if %lasterror% == 0 then
  echo AFTER-RESET
  stall 600000000
endif
setvar Resets -guid ${vendor} -nv -bs =01
echo BEFORE-RESET
reset -c
`;
    await withFirmware({ script }, "bookworm", async (api, id, start) => {
      const { feed } = await start();
      const first = await feed.waitFor(/AFTER-RESET/, timeoutMs);
      assert.match(feed.since(0), /BEFORE-RESET/);
      await api.act(id, "reset");
      await feed.waitFor(/AFTER-RESET/, timeoutMs, first.end);
      assert.equal((await api.statistics(id)).resets, 2);
    });
  });
});
