/**
 * Two guests work their disks, networks and memory for twenty minutes and verify all they read, while the host pauses
 * them, takes memory from them and changes their limits. THIMBLE_STRESS_MINUTES gives another time.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Task, VmSpec } from "../../src/rig/api-types.ts";
import { programEntry } from "../../src/rig/guest/archive-entries.ts";
import { guestSystem } from "../../src/rig/guest/guest-system.ts";
import { repositoryRoot } from "../../src/rig/paths.ts";
import { startTransferServer, type TransferServer } from "../../src/rig/services/transfer-server.ts";
import { eventually, sleep } from "../../src/rig/time.ts";
import { ensureFioDisk, fioCommand } from "../framework/fio.ts";
import { complaintsCommand, unexpectedComplaints } from "../framework/kernel-log.ts";
import { startServer, type TestServer } from "../framework/servers.ts";
import { guestSpec, MiB, removeVm, TestVm } from "../framework/test-vm.ts";

const minutes = Number(process.env.THIMBLE_STRESS_MINUTES ?? 20);
const stepMs = 12_000;
const diskBytes = 192 * MiB;
const transferBytes = 8_000_000;
const rigAddress = "10.0.2.2";
/**
 * What a VMM's own memory may grow by in the second half of the time. In the first it doubles: tables of qcow2 are kept,
 * and the engine looks for cycles only when its memory has grown by half.
 */
const growthMaxBytes = 0.5 * MiB;
const workerKinds = ["raw", "overlay", "memory", "outside", "peer"] as const;

/** What differs between the two guests, so that both ways of everything are under load. */
const kinds = [
  { name: "one", cache: "cached", network: {} },
  { name: "two", cache: "direct", network: { vhost: false, queues: 2 } },
] as const;

interface Guest {
  readonly vm: TestVm;
  readonly address: string;
  /** Digest of the file it serves. */
  readonly digest: string;
}

describe("stress", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-stress-"));
  let server: TestServer;
  let transfer: TransferServer;
  let fioDisk: string;

  before(async () => {
    server = await startServer("long-stress");
    transfer = await startTransferServer(transferBytes);
    const { api } = server;
    fioDisk = await ensureFioDisk(api);
    const system = await guestSystem(13, [
      programEntry("stress-worker", readFileSync(join(repositoryRoot, "test/long/files/stress-worker.sh"))),
    ]);
    await api.uploadImage("initramfs-stress", { path: system.initramfs });
    await api.createDisk("base.raw", diskBytes);
    // qemu-img opens what an image is based on.
    execFileSync("qemu-img", ["create", "-f", "raw", join(directory, "base.raw"), `${diskBytes}`]);
    for (const { name } of kinds) {
      await api.createDisk(`${name}.raw`, diskBytes);
      await api.json("POST", "/images", { name: `${name}.qcow2`, format: "qcow2", backing: "base.raw" });
    }
  });

  after(async () => {
    await transfer?.stop();
    server?.api.close();
    await server?.server.powerOff();
    rmSync(directory, { recursive: true });
  });

  async function bootGuest({ name, cache, network }: (typeof kinds)[number]): Promise<TestVm> {
    const { api } = server;
    const disk = { cache, onError: "report", queues: 2 } as const;
    const spec = await guestSpec(api, {
      name: `stress-${name}`,
      cpus: 2,
      memoryBytes: 768 * MiB,
      memory: { mergeable: true, freePageReporting: true, statisticsSeconds: 5 },
      graphics: true,
      disks: [
        { image: fioDisk, readOnly: true },
        { ...disk, image: `${name}.raw` },
        { ...disk, image: `${name}.qcow2` },
      ],
      networks: [network],
    });
    const boot = { ...spec.boot, initrd: "initramfs-stress" } as VmSpec["boot"];
    const vm = await api.createVm({ ...spec, boot });
    await api.act(vm.id, "start");
    const guest = await TestVm.attach(api, vm);
    await guest.shell.output("insmod /modules/virtio_balloon");
    await guest.shell.output("mount -o ro /dev/vda /mnt");
    for (const path of ["dev", "proc", "tmp"]) await guest.shell.output(`mount --bind /${path} /mnt/${path}`);
    return guest;
  }

  async function prepare(vm: TestVm): Promise<Guest> {
    const { shell } = vm;
    await shell.output("udhcpc -i eth0 -n -q -t 5 -s /etc/udhcpc.script", 60_000);
    const address = /inet ([\d.]+)\//.exec(await shell.output("ip -4 addr show dev eth0"))?.[1];
    assert.ok(address !== undefined, "no lease");
    await shell.output("dd if=/dev/urandom of=/tmp/seed bs=1M count=1 2>/dev/null");
    await shell.output("mkdir /tmp/served; for i in 1 2 3 4; do cat /tmp/seed; done >/tmp/served/sent");
    await shell.output("httpd -p 4000 -h /tmp/served");
    const digest = (await shell.output("md5sum </tmp/served/sent")).slice(0, 32);
    return { vm, address, digest };
  }

  async function beginWork({ vm }: Guest, other: Guest): Promise<void> {
    const { sourcePort, sinkPort, sourceDigest } = transfer;
    const wordsOf = {
      outside: `${rigAddress} ${sourcePort} ${sinkPort} ${sourceDigest}`,
      peer: `${other.address} ${other.digest}`,
    } as Readonly<Record<string, string>>;
    for (const kind of workerKinds) {
      await vm.shell.output(`( { /stress-worker ${kind} ${wordsOf[kind] ?? ""} & } )`);
    }
  }

  /** Fails with the first difference that a worker found. */
  async function checkWork({ vm }: Guest): Promise<void> {
    assert.equal(await vm.shell.output("cat /tmp/failed 2>/dev/null; true", 120_000), "", vm.vm.name);
  }

  async function counts({ vm }: Guest): Promise<Record<string, number>> {
    const counted = await vm.shell.output("cd /tmp; grep . count.*", 60_000);
    return Object.fromEntries(
      [...counted.matchAll(/^count\.(\w+):(\d+)$/gm)].map(([, kind, count]) => [kind, Number(count)]),
    );
  }

  /** What the host does to one guest after another, in this order again and again. */
  function disturbances({ vm: { id } }: Guest): (() => Promise<unknown>)[] {
    const { api } = server;
    return [
      () => api.setBalloon(id, 160 * MiB),
      () => api.limitDisk(id, 1, { bytesPerSecond: 4 * MiB, operationsPerSecond: 500 }),
      () => api.setBalloon(id, 0),
      () => api.limitDisk(id, 1, {}),
      () => api.act(id, "pause"),
      () => api.act(id, "resume"),
      () => api.limitNetwork(id, 0, { receive: { bytesPerSecond: 2_000_000 } }),
      () => api.limitNetwork(id, 0, {}),
    ];
  }

  async function overheads(guests: readonly Guest[]): Promise<number[]> {
    return Promise.all(guests.map(async ({ vm }) => (await server.api.statistics(vm.id)).overheadBytes));
  }

  /** Every block carries its own offset and a checksum. */
  const pattern = (filename: string, rest: Readonly<Record<string, string | number | true>>) =>
    `chroot /mnt ${fioCommand({
      ...{ name: "pattern", filename, bs: "256k", size: "160m", verify: "crc32c", verify_interval: 4096 },
      ...{ verify_state_save: 0, ioengine: "psync", ...rest },
    })}`;

  test(`disk, network and memory of two guests for ${minutes} minutes`, async (context) => {
    const { api } = server;
    const guests: Guest[] = [];
    for (const kind of kinds) guests.push(await prepare(await bootGuest(kind)));
    const [one, two] = guests as [Guest, Guest];
    await beginWork(one, two);
    await beginWork(two, one);

    const steps = [disturbances(one), disturbances(two)];
    const endAt = Date.now() + minutes * 60_000;
    const warmAt = Date.now() + minutes * 30_000;
    let warm: number[] | undefined;
    const series: string[] = [];
    for (let step = 0; Date.now() < endAt; step++) {
      for (const [i, list] of steps.entries()) await list[(step + 3 * i) % list.length]?.();
      await sleep(stepMs);
      // A paused guest answers when it goes on.
      for (const guest of guests) {
        if ((await api.vm(guest.vm.id)).state === "running") await checkWork(guest);
      }
      const now = await overheads(guests);
      series.push(now.map((bytes) => Math.round(bytes / 1024)).join("/"));
      if (Date.now() > warmAt) warm ??= now;
    }
    for (const { vm } of guests) {
      if ((await api.vm(vm.id)).state === "paused") await api.act(vm.id, "resume");
      await api.limitDisk(vm.id, 1, {});
      await api.limitNetwork(vm.id, 0, {});
      await api.setBalloon(vm.id, 0);
    }
    const after = await overheads(guests);

    for (const guest of guests) {
      const { shell } = guest.vm;
      await shell.output("touch /tmp/stop");
      const over = `ls /tmp/over.* 2>/dev/null | wc -l`;
      await eventually(300_000, "the end of the work", async () => {
        await checkWork(guest);
        return Number(await shell.output(over, 60_000)) === workerKinds.length || undefined;
      });
      const done = await counts(guest);
      context.diagnostic(`${guest.vm.vm.name}: rounds ${JSON.stringify(done)}`);
      for (const kind of workerKinds) assert.ok((done[kind] ?? 0) > 0, `${kind} did nothing`);
      assert.deepEqual(unexpectedComplaints(await shell.output(complaintsCommand)), []);
    }
    context.diagnostic(`KiB of the VMMs, step by step: ${series.join(" ")}`);
    after.forEach((bytes, i) => {
      const before = warm?.[i] ?? 0;
      assert.ok(bytes < before + growthMaxBytes, `a VMM grew from ${before} to ${bytes} bytes`);
    });
    assert.doesNotMatch(
      server.server.console.since(0),
      /BUG:|Oops|general protection|I\/O error|Out of memory/,
    );

    // What was flushed before an end without a word is there after it, whatever was under way.
    for (const { vm } of guests) {
      for (const disk of ["/dev/vdb", "/dev/vdc"]) {
        await vm.shell.output(pattern(disk, { rw: "write", do_verify: 0, end_fsync: 1 }), 300_000);
        vm.shell.send(`${pattern(disk, { rw: "write", do_verify: 0 })} >/dev/null 2>&1 &`);
      }
      await vm.shell.output("sleep 1");
      await api.act(vm.id, "force-off");
      await vm.remove();
    }
    for (const kind of kinds) {
      const vm = await bootGuest(kind);
      for (const disk of ["/dev/vdb", "/dev/vdc"])
        await vm.shell.output(pattern(disk, { rw: "read", verify_only: true }), 300_000);
      vm.console.vanish();
      await removeVm(api, vm.id);
      const task = await api.json<Task>("POST", `/images/${kind.name}.qcow2/actions/check`, {});
      assert.deepEqual((await api.waitForTask(task.id, 120_000)).result, { leaks: 0, errors: 0 });
      const file = join(directory, `${kind.name}.qcow2`);
      writeFileSync(file, await api.downloadImage(`${kind.name}.qcow2`));
      execFileSync("qemu-img", ["check", "-f", "qcow2", file]);
    }
  });
});
