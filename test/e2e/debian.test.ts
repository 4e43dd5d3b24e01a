/** Debian as people install it, on a GPT disk with GRUB, through OVMF: network, both consoles, orderly shutdown. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { GuestShell } from "../../src/rig/guest/shell.ts";
import { debianDisk } from "../framework/debian-disk.ts";
import { keepText } from "../framework/evidence.ts";
import { uploadFirmware } from "../framework/firmware.ts";
import { serveText } from "../framework/http.ts";
import { waitForScreen } from "../framework/screen-text.ts";
import { startServer } from "../framework/servers.ts";
import { ensureImage, MiB } from "../framework/test-vm.ts";

const bootTimeoutMs = 300_000;
const sbin = { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` };

/** Where the second partition of a disk begins. */
function rootOffsetBytes(disk: string): number {
  const table = JSON.parse(execFileSync("sfdisk", ["--json", disk], { env: sbin, encoding: "utf8" }));
  return table.partitiontable.partitions[1].start * table.partitiontable.sectorsize;
}

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
        const page = await serveText("a page for the guest\n");
        assert.equal(await shell.output(`wget -qO- ${page.url}`), "a page for the guest");
        page.close();
        assert.equal(await shell.output("systemctl --failed --no-legend --no-pager"), "");
        await waitForScreen(api, vm.id, /debian login:/, { name: `debian-${release}`, timeoutMs: 60_000 });
        // udev has found the driver of keyboard and tablet by itself.
        assert.match(
          await shell.output("cat /proc/bus/input/devices"),
          /Thimble keyboard[\s\S]*Thimble tablet/,
        );
        await api.sendKeys(vm.id, { text: "root\n" });
        // OCR takes the font's "w" for a "u".
        await waitForScreen(api, vm.id, /Pass.{1,3}ord ?:/, {
          name: `debian-${release}-typed`,
          timeoutMs: 60_000,
        });

        await api.act(vm.id, "shutdown");
        assert.equal((await api.vm(vm.id)).lastEnd?.cause, "guest-power-off");
        assert.match(console.feed.since(0), /Reached target.*Power[\s-]?Off|System Power Off/i);
        assert.match(console.feed.since(0), /reboot: Power down/);
        keepText(`debian-${release}-console`, console.feed.since(0));
        console.vanish();

        // The shutdown left the file system clean.
        const disk = join(tmpdir(), `thimble-debian${release}-${process.pid}.img`);
        try {
          writeFileSync(disk, await api.downloadImage(image));
          const root = `${disk}?offset=${rootOffsetBytes(disk)}`;
          execFileSync("e2fsck", ["-f", "-n", root], { env: sbin, stdio: "pipe" });
          assert.match(
            execFileSync("dumpe2fs", ["-h", root], { env: sbin, encoding: "utf8" }),
            /state: +clean/,
          );
        } finally {
          rmSync(disk, { force: true });
        }
      } finally {
        await server.powerOff();
        api.close();
      }
    });
  });
}
