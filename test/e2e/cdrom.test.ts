/** CD drives: OVMF boots an ISO from the drive that the boot order names, as from any machine's. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { SeededRandom, testSeed } from "../../src/base/random.ts";
import type { Vm } from "../../src/rig/api-types.ts";
import { guestSystem } from "../../src/rig/guest/guest-system.ts";
import { buildDirectory } from "../../src/rig/paths.ts";
import { makeFatDisk } from "../framework/fat-disk.ts";
import { uefiShell, uploadFirmware } from "../framework/firmware.ts";
import { sharedServer } from "../framework/servers.ts";
import { ensureImage, MiB, removeVm, TestVm } from "../framework/test-vm.ts";

const firmwareTimeoutMs = 120_000;
const script = `@echo -off
echo CD-BOOTED
fs0:
\\linux.efi initrd=\\initrd console=ttyS0
`;

/** An ISO 9660 image whose El Torito entry for UEFI is a FAT file system, in build/guests/NAME.iso. */
function makeIso(name: string, bootImage: string, files: Readonly<Record<string, Uint8Array>>): string {
  const tree = join(buildDirectory, "guests", `${name}-tree`);
  const iso = join(buildDirectory, "guests", `${name}.iso`);
  rmSync(tree, { recursive: true, force: true });
  rmSync(iso, { force: true });
  mkdirSync(tree, { recursive: true });
  copyFileSync(bootImage, join(tree, "efi.img"));
  for (const [path, bytes] of Object.entries(files)) writeFileSync(join(tree, path), bytes);
  const boot = ["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"];
  execFileSync(
    "xorriso",
    ["-as", "mkisofs", "-quiet", "-J", "-R", "-V", "THIMBLE", ...boot, "-o", iso, tree],
    {
      stdio: "pipe",
    },
  );
  rmSync(tree, { recursive: true });
  return iso;
}

describe("CD drives", () => {
  let vm: Vm | undefined;

  after(async () => {
    const { api } = await sharedServer();
    if (vm !== undefined) await removeVm(api, vm.id);
    await api.deleteImage("cdrom-boot.iso").catch(() => {});
  });

  test("OVMF boots an ISO from cdrom1, and Linux started from it mounts /dev/sr1 and reads a file with the right SHA-256", async () => {
    const { api } = await sharedServer();
    const system = await guestSystem(13);
    const boot = makeFatDisk(
      "cdrom-efi",
      {
        "EFI/BOOT/BOOTX64.EFI": { path: await uefiShell() },
        "EFI/BOOT/startup.nsh": script,
        "linux.efi": { path: system.kernel },
        initrd: { path: system.initramfs },
      },
      32 * MiB,
    );
    const content = new SeededRandom(testSeed()).fill(new Uint8Array(3 * MiB + 123));
    const sum = createHash("sha256").update(content).digest("hex");
    await ensureImage(api, "cdrom-boot.iso", makeIso("cdrom-boot", boot, { "data.bin": content }));
    vm = await api.createVm({
      name: "cdrom",
      cpus: 1,
      memoryBytes: 512 * MiB,
      boot: { ...(await uploadFirmware(api)), bootOrder: ["cdrom1"] },
      cdroms: [{}, { image: "cdrom-boot.iso" }],
    });
    await api.act(vm.id, "start");
    const console = await api.console(vm.id);
    await console.feed.waitFor(
      /BdsDxe: starting Boot\d+ .*Pci\(0x1,0x4\)\/Scsi\(0x1,0x0\)/,
      firmwareTimeoutMs,
    );
    await console.feed.waitFor(/CD-BOOTED/, firmwareTimeoutMs);
    console.vanish();
    const { shell } = await TestVm.attach(api, vm);
    for (const module of ["scsi_common", "scsi_mod", "cdrom", "sr_mod", "virtio_scsi", "isofs"]) {
      await shell.output(`insmod /modules/${module}`);
    }
    await shell.output("until [ -b /dev/sr1 ]; do sleep 0.1; done");
    assert.match(await shell.output("ls /sys/block"), /sr0[\s\S]*sr1/);
    await shell.output("mkdir -p /cd && mount -t iso9660 -o ro /dev/sr1 /cd");
    assert.match(await shell.output("sha256sum /cd/data.bin"), new RegExp(sum));
  });
});
