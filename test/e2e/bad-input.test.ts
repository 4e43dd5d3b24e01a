/** Bad input gets a clear error, and nothing is left behind. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { ApiErrorBody, VmSpec } from "../../src/rig/api-types.ts";
import { GuestShell } from "../../src/rig/guest/shell.ts";
import { eventually } from "../../src/rig/time.ts";
import { sharedServer } from "../framework/servers.ts";
import { GiB, guestSpec, MiB, removeVm, withGuest } from "../framework/test-vm.ts";

interface Refusal {
  readonly status: number;
  readonly error: ApiErrorBody;
}

describe("bad input", () => {
  let api: ApiClient;
  let good: VmSpec;
  let vmsBefore: number;
  let imagesBefore: string[];

  before(async () => {
    api = (await sharedServer()).api;
    good = await guestSpec(api);
    await api.uploadImage("not-a-kernel", randomBytes(100_000));
    vmsBefore = (await api.vms()).length;
    imagesBefore = (await api.images()).map(({ name }) => name).sort();
  });

  after(async () => {
    assert.equal((await api.vms()).length, vmsBefore, "a VM was left behind");
    assert.deepEqual((await api.images()).map(({ name }) => name).sort(), imagesBefore, "images differ");
    await api.deleteImage("not-a-kernel");
  });

  /** Sends a body that must be refused, and checks that the refusal is one a person can act on. */
  async function refused(path: string, body: string): Promise<Refusal> {
    const bytes = Buffer.from(body);
    const headers = { "content-type": "application/json", "content-length": String(bytes.length) };
    const answer = await api.raw("POST", path, { headers, body: bytes });
    assert.ok(answer.status >= 400 && answer.status < 500, `status ${answer.status}: ${answer.body}`);
    const { error } = JSON.parse(answer.body.toString()) as { error: ApiErrorBody };
    assert.match(error.code, /^[a-z][a-z0-9_]*$/);
    assert.match(error.message, /^\S.{10,}/);
    return { status: answer.status, error };
  }

  const badSpecs: readonly (readonly [string, Record<string, unknown>, RegExp])[] = [
    ["no vCPU", { cpus: 0 }, /^cpus/],
    ["1000 vCPUs", { cpus: 1000 }, /^cpus/],
    ["one and a half vCPUs", { cpus: 1.5 }, /^cpus/],
    ["vCPUs as text", { cpus: "2" }, /^cpus/],
    ["no memory", { memoryBytes: 0 }, /^memoryBytes/],
    ["more memory than the host has", { memoryBytes: 64 * GiB }, /^memoryBytes/],
    ["more memory than any host has", { memoryBytes: 1024 * GiB }, /^memoryBytes/],
    ["negative memory", { memoryBytes: -256 * MiB }, /^memoryBytes/],
    ["no name", { name: "" }, /^name/],
    ["a disk outside the datastore", { disks: [{ image: "../../etc/passwd" }] }, /^disks/],
    ["an absolute disk path", { disks: [{ image: "/etc/passwd" }] }, /^disks/],
    ["a disk that is not there", { disks: [{ image: "no-such-image" }] }, /^disks/],
    ["a kernel that is not there", { boot: { kernel: "no-such-kernel" } }, /^boot/],
    ["a kernel outside the datastore", { boot: { kernel: "../init" } }, /^boot/],
    ["a malformed MAC address", { networks: [{ mac: "52:54:00:zz:00:01" }] }, /^networks/],
  ];
  for (const [what, change, field] of badSpecs) {
    test(`a VM with ${what} is refused, naming the field`, async () => {
      const { error } = await refused("/vms", JSON.stringify({ ...good, ...change }));
      assert.match(error.field ?? "", field);
    });
  }

  test("malformed JSON is refused", async () => {
    for (const body of ["", "{", '{"name": "x",}', "[]", "null", '"text"', "\0\xff"]) {
      const { status } = await refused("/vms", body);
      assert.equal(status, 400, `body ${JSON.stringify(body)}`);
    }
  });

  test("a file that is no kernel fails the start with the reason, and the VM stays stopped", async () => {
    const vm = await api.createVm({ ...good, boot: { kernel: "not-a-kernel" } });
    try {
      await assert.rejects(api.act(vm.id, "start"), /kernel/i);
      assert.equal((await api.vm(vm.id)).state, "stopped");
    } finally {
      await removeVm(api, vm.id);
    }
  });

  test("memory that is promised to another VM fails the start, naming the field", async () => {
    await withGuest(api, { memoryBytes: 5 * GiB }, async () => {
      const vm = await api.createVm({ ...good, memoryBytes: 5 * GiB });
      try {
        const answer = await api.raw("POST", `/vms/${vm.id}/actions/start`);
        const { error } = JSON.parse(answer.body.toString()) as { error: ApiErrorBody };
        assert.equal(answer.status, 409);
        assert.equal(error.code, "not_enough_memory");
        assert.equal(error.field, "memoryBytes");
        assert.equal((await api.vm(vm.id)).state, "stopped");
      } finally {
        await removeVm(api, vm.id);
      }
    });
  });

  test("an image name that leads elsewhere is refused", async () => {
    for (const name of ["..%2Fescape", ".hidden", "a%00b", "x".repeat(65), "sp%20ace"]) {
      const answer = await api.raw("PUT", `/images/${name}`, {
        headers: { "content-length": "4" },
        body: Buffer.from("data"),
      });
      assert.ok(answer.status === 400 || answer.status === 404, `${name}: status ${answer.status}`);
    }
  });

  test("a half upload leaves nothing", async () => {
    const { port } = new URL(api.origin);
    const socket = connect({ host: "127.0.0.1", port: Number(port) });
    await once(socket, "connect");
    const head = [
      "PUT /api/v1/images/half-upload HTTP/1.1",
      "Host: host",
      `Authorization: Bearer ${api.token}`,
    ];
    socket.write(`${[...head, "Content-Length: 10000000"].join("\r\n")}\r\n\r\n`);
    socket.write(randomBytes(1_000_000));
    await eventually(10_000, "sending", async () => (socket.writableLength === 0 ? true : undefined));
    socket.destroy();
    await eventually(20_000, "the half upload going away", async () => {
      const names = (await api.images()).map(({ name }) => name);
      return names.some((name) => name.includes("half-upload")) ? undefined : true;
    });
  });

  test("calls without the token, or with a wrong one, are refused", async () => {
    for (const authorization of [
      "",
      "Bearer ",
      `Bearer ${"0".repeat(api.token.length)}`,
      `Basic ${api.token}`,
    ]) {
      const answer = await api.raw("GET", "/host", { headers: { authorization } });
      assert.equal(answer.status, 401);
    }
  });

  test("a path and a method that do not exist are refused", async () => {
    assert.equal((await api.raw("GET", "/nothing")).status, 404);
    assert.ok([404, 405].includes((await api.raw("PATCH", "/host")).status));
  });

  test("a console client that vanishes harms neither the VM nor the next client", async () => {
    await withGuest(api, {}, async (guest) => {
      for (let round = 0; round < 3; round++) {
        const client = await api.console(guest.id);
        client.type("echo from a client that is about to van");
        client.vanish();
      }
      // What they typed may still be on its way: once the console is quiet, the shell is taken over anew.
      for (let seen = -1; seen !== guest.console.feed.position; ) {
        seen = guest.console.feed.position;
        await sleep(2000);
      }
      const shell = await GuestShell.takeOver(guest.console, 60_000);
      assert.equal(await shell.output("echo alive"), "alive");
      const next = await api.console(guest.id);
      await next.feed.waitFor(/alive/, 10_000);
      await next.close();
    });
  });
});
