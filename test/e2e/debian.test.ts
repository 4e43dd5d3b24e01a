/** Debian as people install it, on a GPT disk with GRUB, through OVMF: network, both consoles, orderly shutdown. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GuestShell } from "../../src/rig/guest/shell.ts";
import { debianDisk } from "../framework/debian-disk.ts";
import { uploadFirmware } from "../framework/firmware.ts";
import { waitForScreen } from "../framework/screen-text.ts";
import { startServer } from "../framework/servers.ts";
import { ensureImage, MiB } from "../framework/test-vm.ts";

const bootTimeoutMs = 300_000;

for (const release of [12, 13] as const) {
  describe(`installed Debian ${release}`, () => {
    test("boots by GRUB, has network and both consoles, and shuts down in order", async () => {
      const { server, api } = await startServer(`debian-${release}`);
      try {
        const image = `debian${release}.img`;
        await ensureImage(api, image, await debianDisk(release));
        const vm = await api.createVm({
          name: `debian-${release}`,
          cpus: 2,
          memoryBytes: 1024 * MiB,
          boot: { ...(await uploadFirmware(api)), bootOrder: ["disk0"] },
          disks: [{ image }],
          networks: [{}],
          graphics: true,
        });
        await api.act(vm.id, "start");
        const console = await api.console(vm.id);
        await console.feed.waitFor(/debian login:/, bootTimeoutMs);
        console.type("root\n");
        await console.feed.waitFor(/Password:/, 30_000);
        console.type("thimble\n");
        await console.feed.waitFor(/root@debian:/, 60_000);
        // bash would edit lines, with escape sequences.
        console.type("exec sh\n");
        const shell = await GuestShell.takeOver(console, 60_000);

        assert.match(await shell.output("cat /etc/debian_version"), new RegExp(`^${release}\\.`));
        assert.equal(await shell.output("[ -d /sys/firmware/efi ] && nproc"), "2");
        assert.match(await shell.output("lsblk -no PTTYPE,FSTYPE,MOUNTPOINTS /dev/vda"), /gpt +ext4 +\//);
        assert.match(await shell.output("networkctl status --no-pager 2>&1"), /10\.0\.2\.\d+/);
        assert.equal(await shell.output("systemctl --failed --no-legend --no-pager"), "");
        await waitForScreen(api, vm.id, /debian login:/, { name: `debian-${release}`, timeoutMs: 60_000 });
        // udev has found the driver of keyboard and tablet by itself.
        assert.match(
          await shell.output("cat /proc/bus/input/devices"),
          /Thimble keyboard[\s\S]*Thimble tablet/,
        );
        await api.sendKeys(vm.id, { text: "root\n" });
        // OCR takes the font's "w" for a "u".
        // OCR takes the font's "w" for a "u".
        await waitForScreen(api, vm.id, /Pass.{1,3}ord ?:/, {
          name: `debian-${release}-typed`,
          timeoutMs: 60_000,
        });

        await api.act(vm.id, "shutdown");
        assert.equal((await api.vm(vm.id)).lastEnd?.cause, "guest-power-off");
        assert.match(console.feed.since(0), /Reached target.*Power[\s-]?Off|System Power Off/i);
        assert.match(console.feed.since(0), /reboot: Power down/);
        console.vanish();
      } finally {
        await server.powerOff();
        api.close();
      }
    });
  });
}
