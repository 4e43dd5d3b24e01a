/** The same guests under Thimble and under QEMU, in one simulated server: Thimble's give Linux no more to complain about. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import type { CpioEntry } from "../../src/image/cpio.ts";
import { debPackage } from "../../src/image/sources.ts";
import type { VmSpec } from "../../src/rig/api-types.ts";
import { directoryEntry, fileEntry, programEntry } from "../../src/rig/guest/archive-entries.ts";
import { type DebianRelease, type GuestSystem, guestSystem } from "../../src/rig/guest/guest-system.ts";
import { qemuPeerCommand, qemuPeerEntries, qemuPeerEnvironment } from "../../src/rig/guest/qemu-peer.ts";
import { keepText } from "../framework/evidence.ts";
import { makeFatDisk } from "../framework/fat-disk.ts";
import { uefiShell, uploadFirmware } from "../framework/firmware.ts";
import { complaintsOnlyIn } from "../framework/kernel-log.ts";
import { startTransparentServer, type TransparentServer } from "../framework/servers.ts";
import { ensureImage, MiB, removeVm } from "../framework/test-vm.ts";

const cpus = 2;
const memoryMib = 512;
const timeoutMs = 180_000;
/** Packed, because every character of a serial port costs time. */
const logScript = "#!/bin/sh\necho LOG-BEGIN\ndmesg -r | gzip | base64\necho LOG-END\n";
const commandLine = "console=ttyS0 quiet guest.run=/log.sh";

const packedLog = /LOG-BEGIN\s+([\s\S]*?)LOG-END/;

const unpacked = (match: RegExpExecArray | RegExpMatchArray): string =>
  gunzipSync(Buffer.from(match[1] as string, "base64")).toString();

describe("kernel logs beside QEMU's", () => {
  let transparent: TransparentServer;
  const systems = new Map<DebianRelease, GuestSystem>();
  let uefiDisk: string;

  before(async () => {
    const files: CpioEntry[] = [...qemuPeerEntries()];
    for (const release of [12, 13] as const) {
      const system = await guestSystem(release, [programEntry("log.sh", Buffer.from(logScript))]);
      systems.set(release, system);
      files.push(fileEntry(`peer/kernel-${release}`, readFileSync(system.kernel)));
      files.push(fileEntry(`peer/initramfs-${release}`, readFileSync(system.initramfs)));
    }
    const { kernel, initramfs } = systems.get(13) as GuestSystem;
    uefiDisk = makeFatDisk(
      "kernel-log-uefi",
      {
        "EFI/BOOT/BOOTX64.EFI": { path: await uefiShell() },
        "EFI/BOOT/startup.nsh": `fs0:\n\\linux.efi initrd=\\initrd ${commandLine}\n`,
        "linux.efi": { path: kernel },
        initrd: { path: initramfs },
      },
      32 * MiB,
    );
    const ovmf = join(await debPackage("ovmf", "bookworm"), "usr/share/OVMF");
    files.push(
      directoryEntry("peer/ovmf"),
      fileEntry("peer/ovmf/code", readFileSync(join(ovmf, "OVMF_CODE_4M.fd"))),
      fileEntry("peer/ovmf/vars", readFileSync(join(ovmf, "OVMF_VARS_4M.fd"))),
      fileEntry("peer/uefi.img", readFileSync(uefiDisk)),
    );
    transparent = await startTransparentServer("kernel-log", { files });
  });

  after(async () => {
    transparent?.api.close();
    await transparent?.server.powerOff();
  });

  /** The guest's kernel log under Thimble. */
  async function underThimble(name: string, boot: Pick<VmSpec, "boot" | "disks">): Promise<string> {
    const { api } = transparent;
    const vm = await api.createVm({ name, cpus, memoryBytes: memoryMib * MiB, networks: [{}], ...boot });
    try {
      await api.act(vm.id, "start");
      const console = await api.console(vm.id);
      const { match } = await console.feed.waitFor(packedLog, timeoutMs);
      console.vanish();
      return unpacked(match);
    } finally {
      await removeVm(api, vm.id);
    }
  }

  /** The same under QEMU's q35 with KVM, on the same host. */
  async function underQemu(machineArguments: string): Promise<string> {
    const qemu = [
      `${qemuPeerEnvironment} timeout ${timeoutMs / 1000} ${qemuPeerCommand}`,
      `-M q35 -accel kvm -cpu host -smp ${cpus} -m ${memoryMib}M -display none -no-reboot`,
      "-serial file:/tmp/serial -netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile= -device virtio-rng-pci",
      machineArguments,
    ];
    const { host } = transparent;
    await host.output(`rm -f /tmp/serial; ${qemu.join(" ")}`, timeoutMs + 10_000);
    const serial = await host.output("cat /tmp/serial", 60_000);
    const match = packedLog.exec(serial);
    if (match === null) {
      const state =
        "uptime; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; dmesg | tail -n 30";
      const hostState = await host.output(state, 60_000);
      assert.fail(`QEMU's guest gave no log but:\n${serial.slice(-2000)}\nIts host:\n${hostState}`);
    }
    return unpacked(match);
  }

  function compare(name: string, ours: string, theirs: string): void {
    keepText(`kernel-log-${name}-thimble`, ours);
    keepText(`kernel-log-${name}-qemu`, theirs);
    for (const log of [ours, theirs]) assert.match(log, /Linux version 6\./);
    assert.deepEqual(complaintsOnlyIn(ours, theirs), []);
  }

  for (const release of [12, 13] as const) {
    test(`Debian ${release}, started directly`, async () => {
      const { kernel, initramfs } = systems.get(release) as GuestSystem;
      const boot = { kernel: `log-kernel-${release}`, initrd: `log-initramfs-${release}`, commandLine };
      await ensureImage(transparent.api, boot.kernel, kernel);
      await ensureImage(transparent.api, boot.initrd, initramfs);
      const ours = await underThimble(`log-${release}`, { boot });
      const theirs = await underQemu(
        `-kernel /peer/kernel-${release} -initrd /peer/initramfs-${release} -append '${commandLine}'`,
      );
      compare(`debian${release}`, ours, theirs);
    });
  }

  test("Debian 13, started by OVMF", async () => {
    await ensureImage(transparent.api, "log-uefi.img", uefiDisk);
    const ours = await underThimble("log-uefi", {
      boot: { ...(await uploadFirmware(transparent.api)), bootOrder: ["disk0"] },
      disks: [{ image: "log-uefi.img" }],
    });
    const theirs = await underQemu(
      "-drive if=pflash,unit=0,format=raw,readonly=on,file=/peer/ovmf/code " +
        "-drive if=pflash,unit=1,format=raw,file=/peer/ovmf/vars " +
        "-drive if=none,id=d0,format=raw,file=/peer/uefi.img -device virtio-blk-pci,drive=d0,bootindex=0",
    );
    compare("uefi", ours, theirs);
  });
});
