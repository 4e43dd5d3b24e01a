/** Images of other formats on a host: brought in, converted, used by a VM, taken out again. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { Image, Task } from "../../src/rig/api-types.ts";
import { sharedServer } from "../framework/servers.ts";
import { MiB, withGuest } from "../framework/test-vm.ts";

describe("images of other formats", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-images-"));
  const made: string[] = [];
  let api: ApiClient;
  const qemu = (...args: string[]) => execFileSync("qemu-img", args, { cwd: directory, encoding: "utf8" });

  before(async () => {
    api = (await sharedServer()).api;
    const content = Buffer.alloc(4 * MiB);
    for (let at = 0; at < content.length; at += 9973) content[at] = at >> 8;
    writeFileSync(join(directory, "disk.raw"), content);
  });

  after(async () => {
    for (const name of made.reverse()) await api.deleteImage(name);
    rmSync(directory, { recursive: true });
  });

  async function act(name: string, action: string, body: object): Promise<Task> {
    const task = await api.json<Task>("POST", `/images/${name}/actions/${action}`, body);
    return api.waitForTask(task.id, 120_000);
  }

  async function convert(from: string, to: string, format: string): Promise<void> {
    await act(from, "convert", { to, format });
    made.push(to);
  }

  test("a VMDK becomes qcow2, a VM writes into an image based on it, and the result goes out as VMDK", async () => {
    qemu("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "disk.raw", "in.vmdk");
    const uploaded = await api.uploadImage("in.vmdk", { path: join(directory, "in.vmdk") });
    made.push("in.vmdk");
    assert.deepEqual([uploaded.format, uploaded.virtualSizeBytes], ["vmdk", 4 * MiB]);
    await convert("in.vmdk", "base.qcow2", "qcow2");
    const top = await api.json<Image>("POST", "/images", {
      name: "top.qcow2",
      format: "qcow2",
      backing: "base.qcow2",
    });
    made.push("top.qcow2");
    assert.equal(top.backing, "base.qcow2");
    await act("top.qcow2", "resize", { sizeBytes: 128 * MiB });
    await withGuest(api, { disks: [{ image: "top.qcow2" }] }, async ({ shell }) => {
      assert.equal((await shell.output("cat /sys/block/vda/size")).trim(), String((128 * MiB) / 512));
      await shell.output(
        "tr '\\0' Z </dev/zero | dd of=/dev/vda bs=64k count=48 iflag=fullblock seek=1600 conv=fsync,notrunc 2>/dev/null",
      );
      await shell.output("printf mark | dd of=/dev/vda bs=1 seek=3000000 conv=fsync,notrunc 2>/dev/null");
    });
    assert.deepEqual((await act("top.qcow2", "check", {})).result, { leaks: 0, errors: 0 });
    await convert("top.qcow2", "out.vmdk", "vmdk");
    writeFileSync(join(directory, "out.vmdk"), await api.downloadImage("out.vmdk"));
    const script = `
      truncate -s 128M disk.raw
      tr '\\0' Z </dev/zero | head -c 3145728 | dd of=disk.raw bs=1M seek=100 conv=notrunc status=none
      printf mark | dd of=disk.raw bs=1 seek=3000000 conv=notrunc status=none
      qemu-img compare -f raw -F vmdk disk.raw out.vmdk`;
    execFileSync("sh", ["-ec", script], { cwd: directory });
  });
});
