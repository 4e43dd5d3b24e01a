import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Image, Task } from "../../rig/api-types.ts";
import { TestAgent } from "../testing/test-agent.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

describe("images of several formats", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-images-"));
  let host: TestAgent;
  const qemu = (...args: string[]) => execFileSync("qemu-img", args, { cwd: directory, encoding: "utf8" });
  const path = (name: string) => join(directory, name);
  const stored = () => readdirSync(join(host.directory, "datastore/images")).sort();

  before(async () => {
    host = await TestAgent.start();
    const content = Buffer.alloc(3 * MiB);
    for (let i = 0; i < 1000; i++) content[i * 1777] = i;
    writeFileSync(path("a.raw"), content);
    qemu("convert", "-f", "raw", "-O", "qcow2", "a.raw", "a.qcow2");
    qemu("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "a.raw", "a.vmdk");
  });

  after(async () => {
    await host.remove();
    rmSync(directory, { recursive: true });
  });

  async function act(name: string, action: string, body?: object): Promise<Task> {
    const task = await host.api.json<Task>("POST", `/images/${name}/actions/${action}`, body);
    return host.api.waitForTask(task.id, 30_000);
  }

  test("an upload says what it is", async () => {
    for (const format of ["raw", "qcow2", "vmdk"] as const) {
      const image = await host.api.uploadImage(`a.${format}`, { path: path(`a.${format}`) });
      assert.deepEqual([image.format, image.virtualSizeBytes], [format, 3 * MiB]);
    }
    const list = await host.api.images();
    assert.deepEqual(
      list.map(({ format }) => format),
      ["qcow2", "raw", "vmdk"],
    );
  });

  test("a damaged image is refused, and nothing is left of it", async () => {
    const damaged = readFileSync(path("a.qcow2"));
    damaged.writeUInt32BE(77, 20); // cluster_bits
    await assert.rejects(host.api.uploadImage("damaged", damaged), { code: "bad_image" });
    assert.deepEqual(stored(), ["a.qcow2", "a.raw", "a.vmdk"]);
  });

  test("images are converted by a task; qemu-img finds no difference", async () => {
    for (const [from, to, format] of [
      ["a.vmdk", "b.qcow2", "qcow2"],
      ["b.qcow2", "b.vmdk", "vmdk"],
      ["b.vmdk", "b.raw", "raw"],
    ] as const) {
      const task = await act(from, "convert", { to, format });
      assert.equal(task.state, "succeeded");
      const image = await host.api.json<Image>("GET", `/images/${to}`);
      assert.deepEqual([image.format, image.virtualSizeBytes], [format, 3 * MiB]);
      writeFileSync(path(to), await host.api.downloadImage(to));
      qemu("compare", "-f", "raw", "-F", format, "a.raw", to);
    }
    await assert.rejects(act("a.raw", "convert", { to: "b.raw", format: "raw" }), { code: "image_exists" });
    await assert.rejects(act("a.raw", "convert", { to: "../x", format: "raw" }), { code: "invalid_request" });
    await assert.rejects(act("none", "convert", { to: "c", format: "raw" }), { code: "image_not_found" });
  });

  test("a qcow2 disk grows and is checked", async () => {
    await act("b.qcow2", "resize", { sizeBytes: 64 * MiB });
    assert.equal((await host.api.json<Image>("GET", "/images/b.qcow2")).virtualSizeBytes, 64 * MiB);
    await assert.rejects(act("b.qcow2", "resize", { sizeBytes: MiB }), { code: "bad_size" });
    const { result } = await act("b.qcow2", "check");
    assert.deepEqual(result, { leaks: 0, errors: 0 });
    writeFileSync(path("b.qcow2"), await host.api.downloadImage("b.qcow2"));
    qemu("check", "b.qcow2");
  });

  test("an image based on another one is made here, and the other cannot go before it", async () => {
    const image = await host.api.json<Image>("POST", "/images", {
      name: "top",
      format: "qcow2",
      backing: "a.raw",
    });
    assert.deepEqual([image.format, image.virtualSizeBytes, image.backing], ["qcow2", 3 * MiB, "a.raw"]);
    await assert.rejects(host.api.deleteImage("a.raw"), { code: "image_in_use" });
    await assert.rejects(host.api.uploadImage("a.raw", Buffer.alloc(512)), { code: "image_in_use" });
    await act("top", "convert", { to: "flat", format: "raw" });
    assert.ok((await host.api.downloadImage("flat")).equals(readFileSync(path("a.raw"))));
    await host.api.deleteImage("flat");
    await host.api.deleteImage("top");
  });

  test("what an image is based on is an image of the datastore, whatever the image says", async () => {
    writeFileSync(path("secret"), Buffer.alloc(MiB, 0x55));
    for (const [backing, format] of [
      [path("secret"), "raw"],
      ["../vms/x", "raw"],
      ["not-there", "raw"],
      ["a.raw", "qcow2"],
      ["a.vmdk", "vmdk"],
    ] as const) {
      qemu("create", "-u", "-f", "qcow2", "-b", backing, "-F", format, "evil.qcow2", String(MiB));
      await host.api.uploadImage("evil", { path: path("evil.qcow2") });
      await assert.rejects(act("evil", "convert", { to: "loot", format: "raw" }), { code: "image_unusable" });
      const spec = { ...(await host.spec()), disks: [{ image: "evil" }] };
      await assert.rejects(host.api.createVm(spec), { code: "image_unusable" });
    }
    // One that is based on itself.
    qemu("create", "-u", "-f", "qcow2", "-b", "evil", "-F", "qcow2", "evil.qcow2", String(MiB));
    await host.api.uploadImage("evil", { path: path("evil.qcow2") });
    await assert.rejects(act("evil", "convert", { to: "loot", format: "raw" }), { code: "image_unusable" });
    assert.ok(!existsSync(join(host.directory, "datastore/images/loot")));
  });

  test("a header that a guest writes into its raw disk changes nothing", async () => {
    await host.api.uploadImage("disk", Buffer.alloc(MiB));
    writeFileSync(join(host.directory, "datastore/images/disk"), readFileSync(path("a.qcow2")));
    assert.equal((await host.api.json<Image>("GET", "/images/disk")).format, "raw");
    await act("disk", "convert", { to: "copy", format: "raw" });
    assert.ok((await host.api.downloadImage("copy")).equals(readFileSync(path("a.qcow2"))));
  });

  test("an agent that starts anew knows the formats", async () => {
    const { directory: kept } = host;
    const before = await host.api.images();
    host.abandon();
    host = await TestAgent.start({ directory: kept });
    assert.deepEqual(await host.api.images(), before);
  });

  test("when the notes of formats are damaged, the agent starts, and takes nothing for what it may not be", async () => {
    const { directory: kept } = host;
    for (const damaged of [
      "{",
      "[]",
      '{"a.qcow2":{"format":"raw","virtualSizeBytes":512}}',
      '{"a.qcow2":{"format":"qcow2"}}',
    ]) {
      host.abandon();
      writeFileSync(join(kept, "datastore/formats.json"), damaged);
      host = await TestAgent.start({ directory: kept });
      const formats = Object.fromEntries((await host.api.images()).map(({ name, format }) => [name, format]));
      assert.equal(formats["a.qcow2"], "unknown");
      assert.equal(formats["a.vmdk"], "unknown");
      assert.equal(formats.disk, "unknown", "a raw disk with the header that its guest wrote");
      assert.equal(formats["a.raw"], "raw");
      await assert.rejects(act("a.qcow2", "convert", { to: "x", format: "raw" }), { code: "image_unusable" });
      const spec = { ...(await host.spec()), disks: [{ image: "a.qcow2" }] };
      await assert.rejects(host.api.createVm(spec), { code: "image_unusable" });
    }
    await host.api.uploadImage("a.qcow2", await host.api.downloadImage("a.qcow2"));
    await act("a.qcow2", "convert", { to: "again", format: "raw" });
    assert.ok((await host.api.downloadImage("again")).equals(readFileSync(path("a.raw"))));
  });

  test("at most 16 images are below one", async () => {
    await host.api.uploadImage("chain-0", Buffer.alloc(MiB));
    const make = (i: number) =>
      host.api.json<Image>("POST", "/images", {
        name: `chain-${i}`,
        format: "qcow2",
        backing: `chain-${i - 1}`,
      });
    for (let i = 1; i <= 17; i++) await make(i);
    const spec = await host.spec();
    await host.api.createVm({ ...spec, disks: [{ image: "chain-16" }] });
    await assert.rejects(host.api.createVm({ ...spec, name: "long", disks: [{ image: "chain-17" }] }), {
      code: "image_unusable",
    });
    await assert.rejects(make(18), { code: "image_unusable" });
  });
});
