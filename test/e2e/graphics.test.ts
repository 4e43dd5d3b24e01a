/** A guest's framebuffer console is seen by VNC clients that others wrote, pixel by pixel. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { makeFatDisk } from "../framework/fat-disk.ts";
import { uefiShell, uploadFirmware } from "../framework/firmware.ts";
import { oldClientScreenshot, screenshot } from "../framework/screenshot.ts";
import { sharedServer } from "../framework/servers.ts";
import { ensureImage, MiB, removeVm, withGuest } from "../framework/test-vm.ts";
import { typeAtDisplay } from "../framework/typing.ts";

const WIDTH = 1280;
const HEIGHT = 800;
const firmwareTimeoutMs = 120_000;

describe("graphics", () => {
  test("a Linux console on the framebuffer looks the same in the guest and through VNC", async () => {
    const { api } = await sharedServer();
    await withGuest(api, { graphics: true, commandLine: "vt.global_cursor_default=0" }, async (guest) => {
      const { shell, id } = guest;
      assert.match(await shell.output("cat /sys/class/graphics/fb0/name"), /EFI VGA/);
      assert.match(await shell.output("cat /sys/class/graphics/fb0/virtual_size"), /^1280,800/);
      // Written, not scrolled: on the simulated server's processor a scrolled line costs a tenth of a second.
      await shell.run(
        "{ printf '\\033[H\\033[2J'; dmesg | cut -c 1-150 | head -n 40; uname -a; } > /dev/tty1",
      );
      // A bar of noise near the bottom, where no text is: nothing about it compresses.
      await shell.run("dd if=/dev/urandom of=/dev/fb0 bs=5120 seek=790 count=4 conv=notrunc");
      const seen = await screenshot(api, id, "linux-console");
      assert.deepEqual([seen.width, seen.height], [WIDTH, HEIGHT]);
      const rows = (picture: Buffer, from: number, to: number) =>
        createHash("md5")
          .update(picture.subarray(from * WIDTH * 4, to * WIDTH * 4))
          .digest("hex");
      const inGuest = await shell.output("dd if=/dev/fb0 bs=5120 count=784 2>/dev/null | md5sum");
      assert.equal(rows(seen.bgrx, 0, 784), inGuest.slice(0, 32), "the text, pixel by pixel");
      const lit = seen.bgrx.filter((byte, i) => i % 4 === 0 && byte > 100).length;
      assert.ok(lit > 20_000, `${lit} lit pixels`);

      const before = seen.bgrx;
      await shell.run("printf '\\033[H\\033[41mchanged\\033[0m' > /dev/tty1");
      const after = await screenshot(api, id, "linux-console-changed");
      assert.notEqual(rows(after.bgrx, 0, 16), rows(before, 0, 16));
      assert.equal(rows(after.bgrx, 16, HEIGHT), rows(before, 16, HEIGHT));

      const jpeg = await oldClientScreenshot(api, id, "linux-console-old-client");
      assert.equal(jpeg.readUInt16BE(0), 0xffd8, "a JPEG file");
    });
  });

  test("OVMF and the UEFI shell show themselves and take what is typed at the display and through the API", async () => {
    const { api } = await sharedServer();
    const disk = makeFatDisk("graphics-shell", {
      "EFI/BOOT/BOOTX64.EFI": { path: await uefiShell() },
      "EFI/BOOT/startup.nsh": "@echo -off\necho SHELL-IS-HERE\n",
    });
    await ensureImage(api, "graphics-shell.img", disk);
    const vm = await api.createVm({
      name: "graphics-uefi",
      cpus: 1,
      memoryBytes: 256 * MiB,
      boot: { ...(await uploadFirmware(api)), bootOrder: ["disk0"] },
      disks: [{ image: "graphics-shell.img" }],
      graphics: true,
    });
    try {
      await api.act(vm.id, "start");
      const console = await api.console(vm.id);
      await console.feed.waitFor(/SHELL-IS-HERE/, firmwareTimeoutMs);
      await typeAtDisplay(api, vm.id, "echo typed-here\n");
      // The shell prints it as one piece; what is typed comes letter by letter.
      await console.feed.waitFor(/typed-here/, firmwareTimeoutMs);
      await api.sendKeys(vm.id, { text: "echo Sent-Here!\n" });
      await console.feed.waitFor(/Sent-Here!/, firmwareTimeoutMs);
      const { width, height, bgrx } = await screenshot(api, vm.id, "uefi-shell");
      assert.deepEqual([width, height], [WIDTH, HEIGHT]);
      assert.ok(bgrx.filter((byte) => byte > 100).length > 5000, "there is text");
      console.vanish();
    } finally {
      await removeVm(api, vm.id);
      await api.deleteImage("graphics-shell.img");
    }
  });
});
