/** What a guest has flushed stays, and what it reads is what was written. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { ApiClient } from "../../src/rig/api-client.ts";
import { ensureFioDisk, fio, fioCommand } from "../framework/fio.ts";
import { sharedServer } from "../framework/servers.ts";
import { GiB, MiB, TestVm, withGuest } from "../framework/test-vm.ts";

const diskName = "data-test.img";

describe("data on a virtio disk", () => {
  let api: ApiClient;
  let fioDisk: string;

  before(async () => {
    api = (await sharedServer()).api;
    fioDisk = await ensureFioDisk(api);
    await api.createDisk(diskName, 1 * GiB);
  });

  after(async () => {
    await api.deleteImage(diskName);
    await api.deleteImage(fioDisk);
  });

  const guestOptions = () => ({
    cpus: 2,
    memoryBytes: 512 * MiB,
    commandLine: "root=/dev/vda ro",
    disks: [{ image: fioDisk, readOnly: true }, { image: diskName }],
  });

  /** Every block carries its own offset and a checksum, so a lost or moved block is seen. */
  const pattern = {
    name: "pattern",
    filename: "/dev/vdb",
    direct: 1,
    bs: "1m",
    size: "1g",
    rw: "write",
    verify: "crc32c",
    verify_interval: 4096,
    ioengine: "psync",
  } as const;

  test("1 GiB written and flushed survives a VMM killed in the middle of more writes", async () => {
    const writer = await TestVm.boot(api, guestOptions());
    try {
      await fio(writer.shell, { ...pattern, do_verify: 0, end_fsync: 1 });
      // Writes the same blocks once more, so that the end comes while requests are in flight.
      writer.shell.send(`${fioCommand({ ...pattern, do_verify: 0 })} >/dev/null 2>&1 &`);
      await writer.shell.output("sleep 1");
      await api.act(writer.id, "force-off");
    } finally {
      await writer.remove();
    }
    await withGuest(api, guestOptions(), async ({ shell }) => {
      await fio(shell, { ...pattern, rw: "read", verify_only: true });
    });
  });

  test("one byte that is different is found", async () => {
    await withGuest(api, guestOptions(), async ({ shell }) => {
      const little = { ...pattern, size: "4m" };
      await fio(shell, { ...little, do_verify: 0, end_fsync: 1 });
      await fio(shell, { ...little, rw: "read", verify_only: true });
      await shell.output("printf x | dd of=/dev/vdb bs=1 seek=1234567 conv=notrunc,fsync 2>/dev/null");
      await assert.rejects(fio(shell, { ...little, rw: "read", verify_only: true }), {
        code: "guest_command_failed",
      });
    });
  });

  test("concurrent random reads and writes with verification find no difference", async () => {
    await withGuest(api, guestOptions(), async ({ shell }) => {
      await fio(shell, {
        name: "random",
        filename: "/dev/vdb",
        direct: 1,
        rw: "randrw",
        bsrange: "4k-64k",
        blockalign: "4k",
        size: "64m",
        offset_increment: "64m",
        numjobs: 4,
        group_reporting: true,
        ioengine: "psync",
        verify: "crc32c",
        verify_backlog: 128,
        fsync: 64,
        randrepeat: 0,
      });
    });
  });

  test("a read-only disk refuses writes and keeps its content", async () => {
    const disks = [
      { image: fioDisk, readOnly: true },
      { image: diskName, readOnly: true },
    ];
    await withGuest(api, { ...guestOptions(), disks }, async ({ shell }) => {
      const before = await shell.output("dd if=/dev/vdb bs=1M count=4 2>/dev/null | md5sum");
      assert.equal(await shell.output("cat /sys/block/vdb/ro"), "1");
      assert.notEqual((await shell.run("dd if=/dev/zero of=/dev/vdb bs=4k count=1")).status, 0);
      assert.equal(await shell.output("dd if=/dev/vdb bs=1M count=4 2>/dev/null | md5sum"), before);
    });
  });

  test("discard and write-zeroes leave zeros and give space back", async () => {
    await withGuest(api, guestOptions(), async ({ shell }) => {
      await shell.output("dd if=/dev/urandom of=/dev/vdb bs=1M count=16 oflag=direct 2>/dev/null; sync");
      const used = (await api.images()).find(({ name }) => name === diskName)?.allocatedBytes ?? 0;
      await shell.output("blkdiscard -o 0 -l 16777216 /dev/vdb");
      const left = (await api.images()).find(({ name }) => name === diskName)?.allocatedBytes ?? 0;
      assert.ok(left <= used - 8 * MiB, `${used} bytes were allocated before the discard, ${left} after it`);
      const zeros = await shell.output("dd if=/dev/vdb bs=1M count=16 2>/dev/null | tr -d '\\0' | wc -c");
      assert.equal(zeros, "0");
    });
  });

  test("a disk is held to its limits, which change while it runs", async () => {
    await withGuest(api, guestOptions(), async ({ shell, id }) => {
      const readSeconds = async (megabytes: number) => {
        const script = `a=$(cut -d' ' -f1 /proc/uptime); dd if=/dev/vdb of=/dev/null bs=64k count=${megabytes * 16} iflag=direct 2>/dev/null; echo $a $(cut -d' ' -f1 /proc/uptime)`;
        const [from, to] = (await shell.output(script)).trim().split(" ").map(Number) as [number, number];
        return to - from;
      };
      await api.limitDisk(id, 1, { bytesPerSecond: 1 * MiB });
      // What may be done at once after a pause is a tenth of a second's.
      const limited = await readSeconds(4);
      assert.ok(limited > 3.5, `4 MiB took ${limited} s at 1 MiB/s`);
      await api.limitDisk(id, 1, { operationsPerSecond: 16 });
      const slow = await readSeconds(3);
      assert.ok(slow > 2.5, `48 reads took ${slow} s at 16 a second`);
      await api.limitDisk(id, 1, {});
      const free = await readSeconds(4);
      assert.ok(free < limited, `4 MiB took ${free} s without limits, ${limited} s with them`);
    });
  });
});
