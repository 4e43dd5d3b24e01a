/** UEFI guests: Debian's OVMF, unmodified, with variables of its own, a shell, and Linux started from a FAT disk. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { Vm } from "../../src/rig/api-types.ts";
import { guestSystem } from "../../src/rig/guest/guest-system.ts";
import { makeFatDisk } from "../framework/fat-disk.ts";
import { uefiShell, uploadFirmware } from "../framework/firmware.ts";
import { complaintsCommand, unexpectedComplaints } from "../framework/kernel-log.ts";
import { sharedServer } from "../framework/servers.ts";
import { ensureImage, MiB, removeVm, TestVm } from "../framework/test-vm.ts";

const vendor = "a3b8c4de-52f1-4a0e-9c11-7f3d5e6b8a90";
const firmwareTimeoutMs = 120_000;

/** First boot: sets a variable and switches off. Later boots: find it, and start Linux. */
const script = `@echo -off
setvar ThimbleTest -guid ${vendor}
if %lasterror% == 0 then
  echo VARIABLE-FOUND
  fs0:
  \\linux.efi initrd=\\initrd console=ttyS0
endif
setvar ThimbleTest -guid ${vendor} -nv -bs -rt =c0ffee
echo VARIABLE-SET
reset -s
`;

describe("UEFI guests", () => {
  let vm: Vm | undefined;

  after(async () => {
    const { api } = await sharedServer();
    if (vm !== undefined) await removeVm(api, vm.id);
    for (const image of ["uefi-other.img", "uefi-boot.img"]) await api.deleteImage(image).catch(() => {});
  });

  test("OVMF runs a shell script from the disk that the boot order names, and keeps a variable over power-off", async () => {
    const { api } = await sharedServer();
    const system = await guestSystem(13);
    const shell = { path: await uefiShell() };
    const other = makeFatDisk("uefi-other", {
      "EFI/BOOT/BOOTX64.EFI": shell,
      "EFI/BOOT/startup.nsh": "echo WRONG-DISK\n",
    });
    const boot = makeFatDisk(
      "uefi-boot",
      {
        "EFI/BOOT/BOOTX64.EFI": shell,
        "EFI/BOOT/startup.nsh": script,
        "linux.efi": { path: system.kernel },
        initrd: { path: system.initramfs },
      },
      32 * MiB,
    );
    await ensureImage(api, "uefi-other.img", other);
    await ensureImage(api, "uefi-boot.img", boot);
    vm = await api.createVm({
      name: "uefi",
      cpus: 2,
      memoryBytes: 512 * MiB,
      boot: { ...(await uploadFirmware(api)), bootOrder: ["disk1"] },
      disks: [{ image: "uefi-other.img" }, { image: "uefi-boot.img" }],
      networks: [{}],
    });
    await api.act(vm.id, "start");
    const console = await api.console(vm.id);
    // Disk 1 is in PCI slot 12.
    await console.feed.waitFor(/BdsDxe: starting Boot\d+ .*Pci\(0xC,0x0\)/, firmwareTimeoutMs);
    const { match } = await console.feed.waitFor(/VARIABLE-(SET|FOUND)|WRONG-DISK/, firmwareTimeoutMs);
    assert.equal(match[0], "VARIABLE-SET");
    await api.waitForEvent(({ object, kind }) => object.id === vm?.id && kind !== "vm.started");
    console.vanish();
    assert.equal((await api.vm(vm.id)).lastEnd?.cause, "guest-power-off");
  });

  test("Linux started by OVMF finds variables, tables and devices, complains of nothing, and shuts down", async () => {
    const { api } = await sharedServer();
    assert.ok(vm !== undefined, "there is no VM to start");
    await api.act(vm.id, "start");
    const console = await api.console(vm.id);
    await console.feed.waitFor(/VARIABLE-FOUND/, firmwareTimeoutMs);
    console.vanish();
    const guest = await TestVm.attach(api, vm);
    const { shell } = guest;
    assert.deepEqual(unexpectedComplaints(await shell.output(complaintsCommand)), []);
    const log = await shell.output("dmesg | grep -E 'efi: EFI|DMI:|ECAM|smp: Brought'");
    assert.match(log, /efi: EFI v2\.\d+ by/);
    assert.match(log, /DMI: Thimble Virtual Machine/);
    assert.match(log, /ECAM .* reserved/);
    assert.match(log, /Brought up 1 node, 2 CPUs/);
    assert.equal(await shell.output("cat /sys/class/dmi/id/product_serial"), "uefi");
    assert.match(await shell.output("ls /sys/block /sys/class/net"), /vda[\s\S]*vdb[\s\S]*eth0/);
    // The button is there: ACPI's tables came through the loader.
    await api.act(vm.id, "shutdown");
    assert.equal((await api.vm(vm.id)).lastEnd?.cause, "guest-power-off");
    guest.console.vanish();
  });

  test("OVMF starts a kernel that the VM names, with initrd and command line, without any disk", async () => {
    const { api } = await sharedServer();
    const system = await guestSystem(13);
    const kernel = {
      kernel: "uefi-kernel",
      initrd: "uefi-initrd",
      commandLine: "console=ttyS0 told.by=thimble",
    };
    await ensureImage(api, kernel.kernel, system.kernel);
    await ensureImage(api, kernel.initrd, system.initramfs);
    const boot = { ...(await uploadFirmware(api)), ...kernel };
    const direct = await api.createVm({ name: "uefi-kernel", cpus: 1, memoryBytes: 256 * MiB, boot });
    try {
      await api.act(direct.id, "start");
      const { shell, console } = await TestVm.attach(api, direct);
      assert.match(await shell.output("cat /proc/cmdline"), /console=ttyS0 told\.by=thimble/);
      assert.match(await shell.output("dmesg | grep efi:"), /efi: EFI v2\.\d+ by/);
      assert.deepEqual(unexpectedComplaints(await shell.output(complaintsCommand)), []);
      await api.act(direct.id, "shutdown");
      console.vanish();
    } finally {
      await removeVm(api, direct.id);
      for (const image of [kernel.kernel, kernel.initrd]) await api.deleteImage(image);
    }
  });
});
