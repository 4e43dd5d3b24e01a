/** What only the real runtime can show of the agent: QuickJS, its web classes, src/sys, and crashes. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { VmSpec } from "../rig/api-types.ts";
import { eventually } from "../rig/time.ts";
import { NativeAgent } from "./testing/test-native-agent.ts";

const MiB = 2 ** 20;

describe("the agent in the real runtime", () => {
  let host: NativeAgent;
  const spec: VmSpec = { name: "web", cpus: 1, memoryBytes: 64 * MiB, boot: { kernel: "good" } };

  before(async () => {
    host = await NativeAgent.start();
    await host.api.uploadImage("good", Buffer.from("{}"));
  });
  after(() => host.remove());

  /** The agent without this client's connections. */
  async function idleDescriptors(): Promise<number> {
    host.api.close();
    let last = -1;
    return eventually(10_000, "the agent to become idle", async () => {
      const now = host.descriptors();
      const stable = now === last;
      last = now;
      return stable ? now : undefined;
    });
  }

  test("serves what the API promises, and refuses what it does not", async () => {
    const { api } = host;
    assert.ok((await api.host()).memory.totalBytes > 0);
    assert.equal((await api.raw("HEAD", "/host")).status, 200);
    assert.equal((await api.raw("GET", "/none")).status, 404);
    assert.equal((await api.raw("GET", "/host", { headers: { authorization: "Bearer x" } })).status, 401);
    await assert.rejects(api.createVm({ ...spec, cpus: 1000 }), { status: 400, field: "cpus" });
    await assert.rejects(api.createVm({ ...spec, disks: [{ image: "../x" }] }), { field: "disks[0].image" });
    await assert.rejects(api.createVm({ ...spec, networks: [{ mac: "x" }] }), { field: "networks[0].mac" });
    const answer = await api.raw("POST", "/vms", {
      headers: { "content-length": "3" },
      body: Buffer.from("{x}"),
    });
    assert.match(answer.body.toString(), /bad_json/);
  });

  test("passes 64 MiB up and down unchanged, in memory that does not grow with them", async () => {
    const content = randomBytes(64 * MiB);
    await host.api.uploadImage("large", content);
    assert.ok(content.equals(await host.api.downloadImage("large")));
    await host.api.deleteImage("large");
    assert.ok(host.pssBytes() < 8 * MiB, `${host.pssBytes()} bytes`);
  });

  test("half an upload leaves nothing", async () => {
    const socket = connect({ host: "127.0.0.1", port: host.port });
    await once(socket, "connect");
    socket.write(
      `PUT /api/v1/images/half HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${host.api.token}\r\n` +
        "Content-Length: 1000000\r\n\r\n",
    );
    socket.write(randomBytes(500_000));
    await eventually(5000, "the upload", async () => (host.images().length === 2 ? true : undefined));
    socket.resetAndDestroy();
    await eventually(5000, "its end", async () => (host.images().length === 1 ? true : undefined));
  });

  test("a datastore that fills up during an upload says so and keeps nothing of it", async (context) => {
    if (process.getuid?.() !== 0) return context.skip("mounting needs root");
    const images = join(host.directory, "store/images");
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", images]);
    try {
      const { Readable } = await import("node:stream");
      const body = Readable.from(Array.from({ length: 64 }, () => randomBytes(64 * 1024)));
      const answer = await host.api.raw("PUT", "/images/too-large", { body });
      assert.equal(answer.status, 507);
      assert.match(answer.body.toString(), /datastore_full/);
      assert.deepEqual(host.images(), []);
    } finally {
      execFileSync("umount", [images]);
    }
  });

  test("twenty VMs' lives leave no file, process or descriptor", async () => {
    const { api } = host;
    const cycle = async () => {
      const vm = await api.createVm(spec);
      await api.act(vm.id, "start");
      const console = await api.console(vm.id);
      await console.feed.waitFor(/boot 0/, 5000);
      console.type("typed");
      await console.feed.waitFor(/typed/, 5000);
      await api.act(vm.id, "reset");
      await console.feed.waitFor(/boot 1/, 5000);
      console.vanish();
      assert.equal((await api.statistics(vm.id)).resets, 1);
      await api.act(vm.id, "shutdown");
      await api.deleteVm(vm.id);
    };
    await cycle();
    const before = await idleDescriptors();
    for (let i = 0; i < 20; i += 4) await Promise.all(Array.from({ length: 4 }, cycle));
    assert.equal(await idleDescriptors(), before);
    assert.deepEqual(host.runs(), []);
    assert.deepEqual(await api.vms(), []);
  });

  test("killed and started again, it goes on with the VMs that run", async () => {
    const vm = await host.api.createVm(spec);
    await host.api.act(vm.id, "start");
    const victim = await host.api.createVm(spec);
    await host.api.act(victim.id, "start");
    const { pid } = await host.api.vm(vm.id);
    const last = (await host.api.events()).at(-1)?.seq ?? 0;
    const victimPid = (await host.api.vm(victim.id)).pid as number;
    const { token } = host.api;
    await host.kill();
    process.kill(victimPid, "SIGKILL");
    await host.restart();
    assert.equal(host.api.token, token);
    assert.deepEqual([(await host.api.vm(vm.id)).state, (await host.api.vm(vm.id)).pid], ["running", pid]);
    assert.equal((await host.api.vm(victim.id)).state, "stopped");
    const news = await host.api.events(last);
    assert.deepEqual(
      news.map(({ kind, cause, object }) => [kind, cause, object.id]),
      [["vm.failed", "lost", victim.id]],
    );
    await host.api.act(vm.id, "shutdown");
    assert.equal((await host.api.vm(vm.id)).lastEnd?.cause, "guest-power-off");
    for (const { id } of [vm, victim]) await host.api.deleteVm(id);
  });

  test("told to stop, it shuts its VMs down and ends", async () => {
    const vm = await host.api.createVm(spec);
    await host.api.act(vm.id, "start");
    assert.equal(await host.kill("SIGTERM"), 0);
    assert.deepEqual(host.runs(), []);
    await host.restart();
    assert.equal((await host.api.vm(vm.id)).lastEnd?.cause, "guest-power-off");
    assert.doesNotMatch(host.output, /unexpected/);
  });
});
