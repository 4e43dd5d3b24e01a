/** Disks that fail, fill up, vanish and come back; formats; real disks behind io_uring. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { guestSystem } from "../../src/rig/guest/guest-system.ts";
import { HandVm } from "../framework/hand-vm.ts";
import { startTransparentServer, type TransparentServer } from "../framework/servers.ts";
import { ensureImage, MiB, TestVm } from "../framework/test-vm.ts";

const images = "/datastores/ram/images";
/** The sector of the second disk that cannot be written; nothing of that disk can be flushed. */
const BAD_SECTOR = 2048;

describe("disks", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-disks-"));
  const socket = join(directory, "nbd.sock");
  const nbdFile = join(directory, "nbd.raw");
  let transparent: TransparentServer;
  let nbd: ReturnType<typeof spawn>;

  function startNbd(): Promise<void> {
    rmSync(socket, { force: true });
    nbd = spawn("qemu-nbd", ["-f", "raw", "-k", socket, "-t", "-e", "4", "--cache=writeback", nbdFile], {
      stdio: "ignore",
    });
    return new Promise((resolve, reject) => {
      nbd.once("error", reject);
      nbd.once("spawn", () => setTimeout(resolve, 500));
    });
  }

  async function stopNbd(): Promise<void> {
    const ended = new Promise((resolve) => nbd.once("exit", resolve));
    nbd.kill("SIGKILL");
    await ended;
  }

  before(async () => {
    writeFileSync(nbdFile, "");
    truncateSync(nbdFile, 256 * MiB);
    const bad = join(directory, "bad.raw");
    writeFileSync(bad, "");
    truncateSync(bad, 64 * MiB);
    const rules = join(directory, "blkdebug.conf");
    const rule = (what: string) =>
      `[inject-error]\nevent = "none"\n${what}\nerrno = "5"\nimmediately = "off"\n`;
    writeFileSync(rules, rule(`iotype = "flush"`) + rule(`iotype = "write"\nsector = "${BAD_SECTOR}"`));
    await startNbd();
    transparent = await startTransparentServer("e2e-disks", {
      more: [
        ...["-blockdev", `driver=nbd,node-name=nbd,server.type=unix,server.path=${socket},reconnect-delay=0`],
        ...["-device", "nvme,serial=vanishing,drive=nbd"],
        ...["-drive", `if=none,id=bad,file=blkdebug:${rules}:${bad},format=raw,cache=writeback`],
        ...["-device", "nvme,serial=bad,drive=bad"],
      ],
    });
    const { api } = transparent;
    const system = await guestSystem(13);
    await ensureImage(api, "kernel-13", system.kernel);
    await ensureImage(api, "initramfs-13", system.initramfs);
  });

  after(async () => {
    transparent?.api.close();
    await transparent?.server.powerOff();
    nbd?.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  });

  const handConfig = (disks: object[]) => ({
    memoryBytes: 256 * MiB,
    cpus: 2,
    boot: {
      kernel: `${images}/kernel-13`,
      initrd: `${images}/initramfs-13`,
      commandLine: "console=ttyS0",
    },
    disks,
  });

  test("a full datastore pauses the VM, which goes on without loss when there is room again", async () => {
    const { api, host } = transparent;
    await api.createDisk("sparse.img", 512 * MiB);
    const vm = await TestVm.boot(api, { memoryBytes: 256 * MiB, disks: [{ image: "sparse.img" }] });
    try {
      const last = (await api.events()).at(-1)?.seq ?? 0;
      await host.run(`dd if=/dev/zero of=${images}/../filler bs=1M`, 120_000);
      const free = Number(await host.output(`df -k ${images} | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4`));
      assert.ok(free < 16 * 1024, `${free} KiB are free`);
      // A page that has room, then more than there is.
      vm.shell.send(
        "dd if=/dev/urandom of=/tmp/data bs=1M count=64 2>/dev/null; dd if=/tmp/data of=/dev/vda bs=1M conv=fsync",
      );
      const paused = await api.waitForEvent(({ kind }) => kind === "vm.paused", last);
      assert.match(paused.message, /disk0 .*no space left/);
      const view = await api.vm(vm.id);
      assert.equal(view.state, "paused");
      await assert.rejects(api.act(vm.id, "resume"), { code: "still_paused" });
      await host.output(`rm ${images}/../filler`);
      await api.waitForEvent(({ kind }) => kind === "vm.resumed", paused.seq);
      assert.equal((await api.vm(vm.id)).state, "running");
      await vm.shell.output(
        "wait; sync; echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=1M count=64 2>/dev/null | cmp - /tmp/data",
      );
    } finally {
      await host.run(`rm -f ${images}/../filler`);
      await vm.remove();
      await api.deleteImage("sparse.img");
    }
  });

  test("a disk that vanishes in mid-work pauses the VM, which goes on when it is back", async () => {
    const disk = { path: "/dev/nvme0n1", readOnly: false, cache: "direct", onError: "pause" };
    const vm = await HandVm.start(transparent.host, handConfig([disk]));
    await vm.run("dd if=/dev/urandom of=/tmp/data bs=1M count=96 2>/dev/null");
    const writing = await vm.begin("dd if=/tmp/data of=/dev/vda bs=64k oflag=direct conv=fsync; sync");
    await stopNbd();
    await vm.waitForWords("disk0 [^:]*: .*error");
    await startNbd();
    await vm.waitForWords(": goes on");
    await vm.finish(writing);
    await vm.run(
      "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=1M count=96 2>/dev/null | cmp - /tmp/data",
    );
    assert.equal(await vm.powerOff(), 0);
  });

  test("errors of writes and flushes reach a guest that is to have them", async () => {
    const disk = { path: "/dev/nvme1n1", readOnly: false, cache: "direct" };
    const vm = await HandVm.start(transparent.host, handConfig([disk]));
    const flush = await vm.run("dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync || echo failed");
    assert.match(flush, /error[\s\S]*failed/, "a flush");
    const write = await vm.run(
      `dd if=/dev/zero of=/dev/vda bs=512 seek=${BAD_SECTOR} count=1 oflag=direct || echo failed`,
    );
    assert.match(write, /error[\s\S]*failed/, "the bad sector");
    await vm.run(`dd if=/dev/zero of=/dev/vda bs=512 seek=${BAD_SECTOR + 8} count=1 oflag=direct`);
    assert.equal(await vm.powerOff(), 0);
  });

  test("a qcow2 disk with a backing file is sound, and holds what was written, for qemu-img", async () => {
    const { api, host } = transparent;
    const base = join(directory, "base.raw");
    writeFileSync(base, Buffer.alloc(8 * MiB, 0x5a));
    const overlay = join(directory, "overlay.qcow2");
    execFileSync("qemu-img", [
      "create",
      "-q",
      "-f",
      "qcow2",
      "-b",
      "base.raw",
      "-F",
      "raw",
      overlay,
      String(256 * MiB),
    ]);
    await api.uploadImage("base.raw", { path: base });
    await api.uploadImage("overlay.qcow2", { path: overlay });
    const disk = {
      path: `${images}/overlay.qcow2`,
      readOnly: false,
      format: "qcow2",
      backing: [{ path: `${images}/base.raw`, format: "raw" }],
    };
    const vm = await HandVm.start(host, handConfig([disk]));
    // A mark of 4 KiB within the base, one across clusters beyond it, a discarded range.
    await vm.run(
      "tr '\\0' A </dev/zero | dd of=/dev/vda bs=4k count=1 seek=100 conv=fsync,notrunc 2>/dev/null",
    );
    await vm.run(
      "tr '\\0' B </dev/zero | dd of=/dev/vda bs=4k count=300 seek=40000 conv=fsync,notrunc 2>/dev/null",
    );
    await vm.run("blkdiscard -o 4194304 -l 1048576 /dev/vda");
    assert.equal(await vm.powerOff(), 0);
    writeFileSync(overlay, await api.downloadImage("overlay.qcow2"));
    execFileSync("qemu-img", ["check", "-q", overlay]);
    const flat = join(directory, "flat.raw");
    execFileSync("qemu-img", ["convert", "-O", "raw", overlay, flat]);
    const script = `
      import sys
      f = open(sys.argv[1], "rb").read()
      e = bytearray(b"\\x5a" * (8 << 20) + bytes((256 << 20) - (8 << 20)))
      e[100*4096:101*4096] = b"A" * 4096
      e[40000*4096:40300*4096] = b"B" * (300*4096)
      e[4 << 20:5 << 20] = bytes(1 << 20)
      sys.exit(0 if f == e else 1)`;
    execFileSync("python3", ["-c", script.replace(/^ {6}/gm, ""), flat]);
    await api.deleteImage("overlay.qcow2");
    await api.deleteImage("base.raw");
  });
});
