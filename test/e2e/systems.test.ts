/** Programs and systems that others made for UEFI machines, started by OVMF and seen at work on their screens. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { debPackage } from "../../src/image/sources.ts";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { Vm, VmSpec } from "../../src/rig/api-types.ts";
import { guestSystem } from "../../src/rig/guest/guest-system.ts";
import { keepText } from "../framework/evidence.ts";
import { type FatFile, makeFatDisk } from "../framework/fat-disk.ts";
import { uefiShell, uploadFirmware } from "../framework/firmware.ts";
import { serveFiles } from "../framework/http.ts";
import { waitForScreen } from "../framework/screen-text.ts";
import { sharedServer } from "../framework/servers.ts";
import { ensureImage, guestReadyTimeoutMs, MiB, removeVm, TestVm } from "../framework/test-vm.ts";

const firmwareTimeoutMs = 120_000;
const installer = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64";

/** A VM that OVMF boots from a FAT disk with these files; runs the body with it and leaves nothing. */
async function withUefiDisk(
  name: string,
  files: Readonly<Record<string, FatFile>>,
  options: Partial<VmSpec> & { readonly diskBytes: number },
  body: (api: ApiClient, vm: Vm) => Promise<void>,
): Promise<void> {
  const { diskBytes, ...spec } = options;
  const { api } = await sharedServer();
  const image = `${name}.img`;
  let vm: Vm | undefined;
  try {
    await ensureImage(api, image, makeFatDisk(name, files, diskBytes));
    vm = await api.createVm({
      name,
      cpus: 1,
      memoryBytes: 512 * MiB,
      boot: { ...(await uploadFirmware(api)), bootOrder: ["disk0"] },
      disks: [{ image }],
      graphics: true,
      ...spec,
    });
    await api.act(vm.id, "start");
    await body(api, vm);
  } finally {
    if (vm !== undefined) await removeVm(api, vm.id);
    await api.deleteImage(image).catch(() => {});
  }
}

describe("systems of others through UEFI", () => {
  test("memtest86+ runs its tests and shows them on the screen", async () => {
    const program = join(await debPackage("memtest86+", "trixie"), "boot/memtest86+x64.efi");
    await withUefiDisk(
      "memtest-uefi",
      { "EFI/BOOT/BOOTX64.EFI": { path: program } },
      { diskBytes: 4 * MiB, memoryBytes: 256 * MiB },
      async (api, vm) => {
        const text = await waitForScreen(api, vm.id, /Test #\d/, {
          name: "memtest-uefi",
          timeoutMs: firmwareTimeoutMs,
        });
        assert.match(text, /Status: Testing/);
      },
    );
  });

  test("iPXE gets a lease through the virtio NIC and starts Linux over HTTP", async () => {
    const system = await guestSystem(13);
    const server = await serveFiles({ "/kernel": system.kernel, "/initrd": system.initramfs });
    const { url, asked } = server;
    const ipxe = join(await debPackage("ipxe", "trixie"), "usr/lib/ipxe/ipxe-amd64.efi");
    const script = [
      "#!ipxe",
      "dhcp",
      `kernel ${url}/kernel initrd=initrd console=ttyS0`,
      `initrd --name initrd ${url}/initrd`,
      "boot",
    ];
    try {
      await withUefiDisk(
        "ipxe",
        { "EFI/BOOT/BOOTX64.EFI": { path: ipxe }, "autoexec.ipxe": `${script.join("\n")}\n` },
        { diskBytes: 4 * MiB, networks: [{}] },
        async (api, vm) => {
          const guest = await TestVm.attach(api, vm);
          assert.match(await guest.shell.output("dmesg | grep -m1 'efi: EFI'"), /EFI v2/);
          keepText("ipxe-console", guest.console.feed.since(0));
          guest.console.vanish();
        },
      );
      assert.match(asked.join("\n"), /GET \/kernel iPXE[\s\S]*GET \/initrd iPXE/);
    } finally {
      server.close();
    }
  });

  test("Debian's network installer comes to its first question", async () => {
    const folder = join(await debPackage("debian-installer-12-netboot-amd64", "bookworm"), installer);
    await withUefiDisk(
      "debian-installer",
      {
        "EFI/BOOT/BOOTX64.EFI": { path: await uefiShell() },
        "EFI/BOOT/startup.nsh": "fs0:\n\\linux.efi initrd=\\initrd.gz\n",
        "linux.efi": { path: join(folder, "linux") },
        "initrd.gz": { path: join(folder, "initrd.gz") },
      },
      { diskBytes: 64 * MiB, memoryBytes: 1024 * MiB, networks: [{}] },
      async (api, vm) => {
        const text = await waitForScreen(api, vm.id, /Select a language/i, {
          name: "debian-installer",
          timeoutMs: guestReadyTimeoutMs,
        });
        assert.match(text, /French/);
      },
    );
  });
});
