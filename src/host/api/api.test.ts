/** The API end to end on Node: the real agent over loopback sockets, with programs that stand in for VMMs. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { MiB } from "../../base/addresses.ts";
import type { ApiError } from "../../rig/api-client.ts";
import { eventually } from "../../rig/time.ts";
import type { VmmConfig } from "../../vmm/config.ts";
import { TestAgent } from "../testing/test-agent.ts";

describe("the API", () => {
  let host: TestAgent;
  before(async () => {
    host = await TestAgent.start();
  });
  after(() => host.remove());

  test("GET /host describes the host", async () => {
    const facts = await host.api.host();
    assert.equal(facts.accelerator, "kvm");
    assert.ok(facts.cpus.count >= 1 && facts.memory.totalBytes > 2 ** 20 && facts.bootMs > 0);
    assert.deepEqual(facts.addresses, [{ interface: "vswitch0", address: "10.0.2.15" }]);
  });

  test("an image goes up, is listed, comes down the same and is deleted", async () => {
    const content = Buffer.from(Array.from({ length: 700_000 }, (_, i) => i * 7));
    const image = await host.api.uploadImage("some.img", content);
    assert.equal(image.sizeBytes, 700_000);
    assert.deepEqual(
      (await host.api.images()).map(({ name }) => name),
      ["some.img"],
    );
    assert.ok(content.equals(await host.api.downloadImage("some.img")));
    await host.api.deleteImage("some.img");
    assert.deepEqual(await host.api.images(), []);
    await assert.rejects(host.api.deleteImage("some.img"), { status: 404, code: "image_not_found" });
  });

  test("an empty disk takes no space; its name is taken once", async () => {
    const disk = await host.api.createDisk("disk.img", 2 ** 30);
    assert.equal(disk.sizeBytes, 2 ** 30);
    assert.equal(disk.allocatedBytes, 0);
    await assert.rejects(host.api.createDisk("disk.img", 512), { status: 409, code: "image_exists" });
    await assert.rejects(host.api.createDisk("odd.img", 513), { status: 400, field: "sizeBytes" });
    await host.api.deleteImage("disk.img");
  });

  test("an upload that does not fit is refused before it is read", async () => {
    const answer = await host.exchange(
      `PUT /api/v1/images/huge HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${host.agent.token}\r\n` +
        "Content-Length: 900000000000000\r\nExpect: 100-continue\r\n\r\n",
    );
    assert.match(answer, /^HTTP\/1\.1 507 /);
    assert.match(answer, /datastore_full/);
    assert.deepEqual(host.imageFiles(), []);
  });

  test("Expect: 100-continue is answered when the body is wanted", async () => {
    const socket = host.connect();
    socket.write(
      `PUT /api/v1/images/polite HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${host.agent.token}\r\n` +
        "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
    );
    let answer = "";
    socket.on("data", (bytes) => {
      answer += bytes;
      if (answer === "HTTP/1.1 100 Continue\r\n\r\n") socket.write("5\r\nhello\r\n0\r\n\r\n");
    });
    await eventually(5000, "the answer", async () => (answer.includes('"sizeBytes":5') ? true : undefined));
    await host.api.deleteImage("polite");
  });

  test("a VM's life: create, start, reset, shut down, start, force off, delete", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec({}, { networks: [{}, { mac: "52:54:00:AA:00:01" }] }));
    assert.equal(vm.state, "stopped");
    assert.match(vm.networks?.[0]?.mac ?? "", /^52:54(:[0-9a-f]{2}){4}$/);
    assert.equal(vm.networks?.[1]?.mac, "52:54:00:aa:00:01");
    await assert.rejects(api.act(vm.id, "shutdown"), { status: 409, code: "vm_stopped" });

    await api.act(vm.id, "start");
    const running = await api.vm(vm.id);
    assert.equal(running.state, "running");
    assert.equal(host.network.taps.size, 2);
    await assert.rejects(api.act(vm.id, "start"), { code: "vm_running" });
    await assert.rejects(api.deleteVm(vm.id), { status: 409, code: "vm_running" });
    await assert.rejects(api.deleteImage("kernel-good"), { status: 409, code: "image_in_use" });
    await assert.rejects(api.uploadImage("kernel-good", Buffer.from("x")), {
      status: 409,
      code: "image_in_use",
    });
    const statistics = await api.statistics(vm.id);
    assert.equal(statistics.exits, 1234);
    assert.ok(statistics.pssBytes > 0 && statistics.overheadBytes === statistics.pssBytes);

    await api.act(vm.id, "reset");
    assert.equal((await api.statistics(vm.id)).resets, 1);
    assert.equal((await api.vm(vm.id)).pid, running.pid);

    await api.act(vm.id, "shutdown");
    const stopped = await api.vm(vm.id);
    assert.equal(stopped.state, "stopped");
    assert.equal(stopped.pid, undefined);
    assert.equal(stopped.lastEnd?.cause, "guest-power-off");
    assert.deepEqual(host.runs(), []);
    assert.equal(host.network.taps.size, 0);

    await api.act(vm.id, "start");
    await api.act(vm.id, "force-off");
    assert.equal((await api.vm(vm.id)).lastEnd?.cause, "stopped");
    await api.deleteVm(vm.id);
    await assert.rejects(api.vm(vm.id), { status: 404, code: "vm_not_found" });
    const kinds = (await api.events()).filter(({ object }) => object.id === vm.id).map(({ kind }) => kind);
    assert.deepEqual(kinds, ["vm.started", "vm.reset", "vm.ended", "vm.started", "vm.ended"]);
    assert.ok((await api.events())[0]?.kind === "host.booted");
  });

  test("a balloon's target is kept with the VM, told to its VMM, and outlives a reset", async () => {
    const { api } = host;
    const memory = { hugePages: true, balloonTargetBytes: 4 * MiB };
    const vm = await api.createVm(await host.spec({}, { memory }));
    assert.deepEqual(vm.memory, memory);
    const target = async () => (await api.statistics(vm.id)).balloon?.targetBytes;
    await api.act(vm.id, "start");
    assert.equal(await target(), 4 * MiB);
    const changed = await api.setBalloon(vm.id, 8 * MiB);
    assert.deepEqual(changed.memory, { ...memory, balloonTargetBytes: 8 * MiB });
    assert.equal(await target(), 8 * MiB);
    await api.act(vm.id, "reset");
    assert.equal(await target(), 8 * MiB);
    await assert.rejects(api.setBalloon(vm.id, vm.memoryBytes + 4096), {
      status: 400,
      field: "memory.balloonTargetBytes",
    });
    await assert.rejects(api.setBalloon(vm.id, -1), { status: 400, field: "memory.balloonTargetBytes" });
    await api.act(vm.id, "force-off");
    await api.setBalloon(vm.id, 0);
    await api.act(vm.id, "start");
    assert.equal(await target(), 0);
    await api.act(vm.id, "force-off");
    await api.deleteVm(vm.id);
    await assert.rejects(api.setBalloon(vm.id, 0), { status: 404 });
    const tooMuch = { balloonTargetBytes: vm.memoryBytes + 4096 };
    await assert.rejects(
      host.spec({}, { memory: tooMuch }).then((spec) => api.createVm(spec)),
      { status: 400 },
    );
  });

  test("limits of interfaces are kept with the VM, and put on a running one's taps", async () => {
    const { api, network } = host;
    const rate = { bytesPerSecond: 2_000_000 };
    const vm = await api.createVm(await host.spec({}, { networks: [{}, { limits: { receive: rate } }] }));
    assert.deepEqual(vm.networks?.[1]?.limits, { receive: rate });
    await api.limitNetwork(vm.id, 0, { transmit: rate });
    assert.equal(network.limits.size, 0, "a VM that is off has no taps");
    await api.act(vm.id, "start");
    const limits = { transmit: { bytesPerSecond: 65536, burstBytes: 131072 } };
    const changed = await api.limitNetwork(vm.id, 1, limits);
    assert.deepEqual(
      changed.networks?.map((one) => one.limits),
      [{ transmit: rate }, limits],
    );
    assert.deepEqual([...network.limits], [[`tap-${vm.id}-1`, limits]]);
    await api.limitNetwork(vm.id, 1, {});
    assert.deepEqual([...network.limits.values()], [{}]);
    assert.deepEqual((await api.vm(vm.id)).networks?.[1]?.limits, {});
    const refused = (status: number, field: string) => ({ status, field });
    await assert.rejects(api.limitNetwork(vm.id, 2, {}), refused(400, "networks[0].index"));
    const slow = { receive: { bytesPerSecond: 1 } };
    const slowField = "networks[0].limits.receive.bytesPerSecond";
    await assert.rejects(api.limitNetwork(vm.id, 0, slow), refused(400, slowField));
    await api.act(vm.id, "force-off");
    await api.deleteVm(vm.id);
  });

  test("limits of disks are kept with the VM, and a running one's VMM is told", async () => {
    const { api } = host;
    await api.createDisk("limited", MiB);
    const first = { operationsPerSecond: 100 };
    const vm = await api.createVm(await host.spec({}, { disks: [{ image: "limited", limits: first }] }));
    await api.limitDisk(vm.id, 0, { bytesPerSecond: 65536 });
    assert.deepEqual((await api.vm(vm.id)).disks?.[0]?.limits, { bytesPerSecond: 65536 });
    await api.act(vm.id, "start");
    const console = await api.console(vm.id);
    await api.limitDisk(vm.id, 0, first);
    await console.feed.waitFor(/"op":"limitDisk","index":0,"limits":{"operationsPerSecond":100}/, 10_000);
    console.vanish();
    const { directory } = host;
    const config = readFileSync(join(directory, "run", "vms", vm.id, "config.json"), "utf8");
    assert.deepEqual((JSON.parse(config) as VmmConfig).disks[0]?.limits, first);
    const refused = (field: string) => ({ status: 400, field });
    await assert.rejects(api.limitDisk(vm.id, 1, {}), refused("disks[0].index"));
    const slow = { bytesPerSecond: 1 };
    await assert.rejects(api.limitDisk(vm.id, 0, slow), refused("disks[0].limits.bytesPerSecond"));
    await api.act(vm.id, "force-off");
    await api.deleteVm(vm.id);
  });

  test("a VM with firmware gets variables of its own, which a restart keeps and deletion removes", async () => {
    const { api } = host;
    await api.uploadImage("code", Buffer.from("{}"));
    await api.uploadImage("vars", Buffer.from("template"));
    const boot = { firmware: "code", variables: "vars", bootOrder: ["network0"] };
    const spec = await host.spec({}, { boot, networks: [{}], memoryBytes: 64 * MiB });
    const vm = await api.createVm(spec);
    assert.deepEqual((await api.vm(vm.id)).boot, boot);
    const file = join(host.directory, "datastore/vms", vm.id, "nvram.fd");
    assert.equal(readFileSync(file, "utf8"), "template");
    writeFileSync(file, "changed!");
    await api.act(vm.id, "start");
    await assert.rejects(api.deleteImage("code"), { code: "image_in_use" });
    await api.deleteImage("vars");
    await api.act(vm.id, "force-off");
    assert.equal(readFileSync(file, "utf8"), "changed!");
    await api.deleteVm(vm.id);
    assert.equal(existsSync(file), false);

    for (const [field, change] of [
      ["boot.variables", {}],
      ["boot.firmware", { firmware: "none" }],
      ["boot.bootOrder[0]", { bootOrder: ["disk0"] }],
      ["boot.bootOrder[0]", { bootOrder: ["floppy"] }],
      ["boot.kernel", { kernel: "none" }],
      ["boot.initrd", { kernel: "code", initrd: "none" }],
      ["boot.initrd", { initrd: "code" }],
      ["boot.commandLine", { commandLine: "quiet" }],
      ["boot.commandLine", { kernel: "code", commandLine: "\n" }],
    ] as const) {
      const wrong = { ...spec, boot: { ...boot, ...change } };
      await assert.rejects(api.createVm(wrong), { status: 400, field });
    }
    await assert.rejects(api.createVm({ ...spec, memoryBytes: 62 * MiB }), {
      status: 400,
      field: "memoryBytes",
      message: /at least 64 MiB/,
    });
  });

  test("a kernel for the firmware is an image in use, and comes to the VMM with initrd and command line", async () => {
    const { api } = host;
    for (const name of ["uefi-code", "uefi-vars", "uefi-kernel", "uefi-initrd"]) {
      await api.uploadImage(name, Buffer.from("{}"));
    }
    const boot = {
      firmware: "uefi-code",
      variables: "uefi-vars",
      kernel: "uefi-kernel",
      initrd: "uefi-initrd",
      commandLine: "quiet",
    };
    const vm = await api.createVm(await host.spec({}, { boot, memoryBytes: 64 * MiB }));
    assert.deepEqual((await api.vm(vm.id)).boot, boot);
    for (const name of ["uefi-kernel", "uefi-initrd"]) {
      await assert.rejects(api.deleteImage(name), { code: "image_in_use" });
    }
    await api.act(vm.id, "start");
    await api.act(vm.id, "force-off");
    await api.deleteVm(vm.id);
  });

  test("a VMM that fails gives the start its reason", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec({ failWith: 2, words: "the kernel is no bzImage" }));
    await assert.rejects(api.act(vm.id, "start"), /the kernel is no bzImage/);
    const { state, lastEnd } = await api.vm(vm.id);
    assert.equal(state, "stopped");
    assert.equal(lastEnd?.cause, "bad-config");
    assert.equal(lastEnd?.message, "the kernel is no bzImage");
    await api.deleteVm(vm.id);
  });

  test("a guest that ignores the power button fails the shutdown and goes on; a stuck VMM is killed", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec({ ignorePowerButton: true, ignoreStop: true }));
    await api.act(vm.id, "start");
    await assert.rejects(api.act(vm.id, "shutdown", 50), { code: "shutdown_timeout" });
    assert.equal((await api.vm(vm.id)).state, "running");
    await api.act(vm.id, "force-off");
    assert.equal((await api.vm(vm.id)).lastEnd?.cause, "stopped");
    await api.deleteVm(vm.id);
  });

  test("a running VM is paused and resumed, and says so", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec());
    await assert.rejects(api.act(vm.id, "pause"), { code: "vm_stopped" });
    await api.act(vm.id, "start");
    const last = (await api.events()).at(-1)?.seq ?? 0;
    await api.act(vm.id, "pause");
    const paused = await api.waitForEvent(({ kind }) => kind === "vm.paused", last);
    assert.match(paused.message, /paused on request/);
    assert.deepEqual((({ state, pauseReason }) => [state, pauseReason])(await api.vm(vm.id)), [
      "paused",
      "paused on request",
    ]);
    await assert.rejects(api.act(vm.id, "shutdown"), { code: "vm_paused" });
    await api.act(vm.id, "resume");
    await api.waitForEvent(({ kind }) => kind === "vm.resumed", last);
    assert.equal((await api.vm(vm.id)).state, "running");
    assert.equal((await api.vm(vm.id)).pauseReason, undefined);
    await api.act(vm.id, "pause");
    await api.act(vm.id, "force-off");
    assert.equal((await api.vm(vm.id)).state, "stopped");
    await api.deleteVm(vm.id);
  });

  test("a VM that is starting can be forced off", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec({ neverRuns: true }));
    const start = await api.json<{ id: string }>("POST", `/vms/${vm.id}/actions/start`);
    assert.equal((await api.vm(vm.id)).state, "starting");
    await api.act(vm.id, "force-off");
    await assert.rejects(api.waitForTask(start.id), { code: "vm_stopped" });
    assert.equal((await api.vm(vm.id)).state, "stopped");
    await api.deleteVm(vm.id);
  });

  test("kill -9 of one VMM leaves the other undisturbed and is reported with its reason", async () => {
    const { api } = host;
    const [victim, survivor] = [await api.createVm(await host.spec()), await api.createVm(await host.spec())];
    await Promise.all([api.act(victim.id, "start"), api.act(survivor.id, "start")]);
    const last = (await api.events()).at(-1)?.seq ?? 0;
    process.kill((await api.vm(victim.id)).pid as number, "SIGKILL");
    const event = await api.waitForEvent(() => true, last);
    assert.deepEqual([event.kind, event.cause, event.object.id], ["vm.failed", "signal 9", victim.id]);
    assert.equal((await api.vm(victim.id)).state, "stopped");
    assert.equal((await api.vm(survivor.id)).state, "running");
    assert.deepEqual(host.runs(), [survivor.id]);
    await api.act(survivor.id, "force-off");
    for (const { id } of [victim, survivor]) await api.deleteVm(id);
  });

  test("a writable disk belongs to one running VM at a time", async () => {
    const { api } = host;
    await api.createDisk("shared.img", 2 ** 20);
    const writer = await api.createVm(await host.spec({}, { disks: [{ image: "shared.img" }] }));
    const reader = await api.createVm(
      await host.spec({}, { disks: [{ image: "shared.img", readOnly: true }] }),
    );
    await api.act(writer.id, "start");
    await assert.rejects(api.act(reader.id, "start"), {
      status: 409,
      code: "image_in_use",
      field: "disks[0].image",
    });
    await api.act(writer.id, "force-off");
    await api.act(reader.id, "start");
    await api.act(reader.id, "force-off");
    for (const { id } of [writer, reader]) await api.deleteVm(id);
    await api.deleteImage("shared.img");
  });

  test("a console shows earlier output, passes input, survives a reset and closes with the VM", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec());
    await assert.rejects(api.console(vm.id), /409/);
    await api.act(vm.id, "start");
    const [one, two] = [await api.console(vm.id), await api.console(vm.id)];
    await one.feed.waitFor(/boot 0/, 5000);
    one.type("hello");
    await one.feed.waitFor(/hello/, 5000);
    two.vanish();
    await api.act(vm.id, "reset");
    await one.feed.waitFor(/boot 1/, 5000);
    one.type("again");
    await one.feed.waitFor(/again/, 5000);
    await api.act(vm.id, "shutdown");
    await one.closed;
    await api.deleteVm(vm.id);
  });

  test("a console that takes no more clients is closed, not tried for ever", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec({ refuseConsole: true }));
    await api.act(vm.id, "start");
    await (await api.console(vm.id)).closed;
    assert.equal((await api.vm(vm.id)).state, "running");
    await api.act(vm.id, "force-off");
    await api.deleteVm(vm.id);
  });

  test("a display is a WebSocket with the subprotocol that noVNC asks for; a VM without one says so", async () => {
    const { api, agent } = host;
    const plain = await api.createVm(await host.spec());
    const vm = await api.createVm(await host.spec({}, { graphics: true }));
    assert.equal((await api.vm(vm.id)).graphics, true);
    const handshake = (id: string, protocols: string) =>
      `GET /api/v1/vms/${id}/vnc HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${agent.token}\r\n` +
      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
      `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${protocols}\r\n`;
    const close = "Connection: close\r\n";
    assert.match(await host.exchange(handshake(plain.id, close)), /^HTTP\/1\.1 409 [\s\S]*no_graphics/);
    assert.match(await host.exchange(handshake(vm.id, close)), /^HTTP\/1\.1 409 [\s\S]*vm_stopped/);
    await api.act(vm.id, "start");
    for (const [offer, answer] of [
      ["Sec-WebSocket-Protocol: base64, binary\r\n", true],
      ["", false],
    ] as const) {
      const socket = host.connect();
      const first = new Promise<string>((resolve) => socket.once("data", (bytes) => resolve(String(bytes))));
      socket.write(handshake(vm.id, offer));
      assert.equal(/\r\nSec-WebSocket-Protocol: binary\r\n/.test(await first), answer);
      socket.destroy();
    }
    const display = await api.display(vm.id);
    const client = connect(display.port, "127.0.0.1");
    let received = "";
    client.on("data", (bytes) => {
      received += bytes;
    });
    client.write("hello");
    await eventually(5000, "the echo", async () => (received === "RFBhello" ? true : undefined));
    const closed = new Promise((resolve) => client.once("close", resolve));
    await api.act(vm.id, "force-off");
    await closed;
    display.close();
    for (const { id } of [plain, vm]) await api.deleteVm(id);
  });

  test("send-keys types a chord or a text at a running VM with a display, and refuses anything else", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec({}, { graphics: true }));
    await assert.rejects(api.sendKeys(vm.id, { text: "x" }), { status: 409, code: "vm_stopped" });
    await assert.rejects(api.sendKeys("vm-none", { text: "x" }), { status: 404, code: "vm_not_found" });
    await api.act(vm.id, "start");
    const console = await api.console(vm.id);
    await console.feed.waitFor(/boot 0\n/, 5000);
    await api.sendKeys(vm.id, { keys: ["ctrl", "alt", "delete"] });
    await console.feed.waitFor(/keys \[\[29,56,111\]\]\n/, 5000);
    await api.sendKeys(vm.id, { text: "Hi 2\n" });
    await console.feed.waitFor(/keys \[\[42,35\],\[23\],\[57\],\[3\],\[28\]\]\n/, 5000);
    await api.sendKeys(vm.id, { text: "A".repeat(256) });
    await console.feed.waitFor(/keys \[(,?\[42,30\]){256}\]\n/, 5000);
    const seen = console.feed.position;
    for (const [field, body] of [
      [undefined, {}],
      [undefined, []],
      [undefined, { keys: ["a"], text: "a" }],
      ["keys", { keys: "a" }],
      ["keys", { keys: [] }],
      ["keys", { keys: new Array(9).fill("a") }],
      ["keys[1]", { keys: ["ctrl", "Alt"] }],
      ["keys[0]", { keys: [29] }],
      ["keys[0]", { keys: ["constructor"] }],
      ["text", { text: "" }],
      ["text", { text: 7 }],
      ["text", { text: "é" }],
      ["text", { text: "\u0000" }],
      ["text", { text: "x".repeat(257) }],
      ["delayMs", { text: "x", delayMs: 1 }],
    ] as const) {
      const answer = api.json("POST", `/vms/${vm.id}/actions/send-keys`, body);
      await assert.rejects(
        answer,
        { status: 400, code: "invalid_request", ...(field === undefined ? {} : { field }) },
        JSON.stringify(body),
      );
    }
    await api.sendKeys(vm.id, { keys: ["a"] });
    await console.feed.waitFor(/^keys \[\[30\]\]\n/, 5000, seen);
    console.vanish();
    await api.act(vm.id, "force-off");
    await api.deleteVm(vm.id);

    const busy = await api.createVm(await host.spec({ busyTyping: true }, { graphics: true }));
    await api.act(busy.id, "start");
    await assert.rejects(api.sendKeys(busy.id, { text: "x" }), { status: 409, code: "keys_busy" });
    await api.act(busy.id, "force-off");
    await api.deleteVm(busy.id);
    const plain = await api.createVm(await host.spec());
    await api.act(plain.id, "start");
    await assert.rejects(api.sendKeys(plain.id, { text: "x" }), { status: 409, code: "no_graphics" });
    await api.act(plain.id, "force-off");
    await api.deleteVm(plain.id);
  });

  test("tasks and events can be waited for", async () => {
    const { api } = host;
    const before = performance.now();
    const last = (await api.events()).at(-1)?.seq ?? 0;
    assert.deepEqual(await api.events(last, 200), []);
    assert.ok(performance.now() - before >= 190);
    await assert.rejects(api.json("GET", "/events?waitMs=40000"), { status: 400, field: "waitMs" });
    await assert.rejects(api.json("GET", "/tasks/task-none"), { status: 404, code: "task_not_found" });
    assert.ok((await api.json<{ items: unknown[] }>("GET", "/tasks")).items.length > 5);
  });

  test("powering off without init fails as a task and can be tried again", async () => {
    const task = await host.api.powerOffHost();
    await assert.rejects(host.api.waitForTask(task.id), { code: "init_unreachable" });
    await assert.rejects(host.api.waitForTask((await host.api.powerOffHost()).id), {
      code: "init_unreachable",
    });
  });

  test("while the host stops, no VM starts; when it goes on after all, one does", async () => {
    const { api } = host;
    const busy = await api.createVm(await host.spec({ ignorePowerButton: true }));
    await api.act(busy.id, "start");
    const task = await api.powerOffHost();
    const other = await api.createVm(await host.spec({}));
    await assert.rejects(api.act(other.id, "start"), { status: 409, code: "host_stopping" });
    await api.act(busy.id, "force-off");
    await assert.rejects(api.waitForTask(task.id), { code: "init_unreachable" });
    await api.act(other.id, "start");
    await api.act(other.id, "force-off");
  });

  test("calls without the token are refused before anything else", async () => {
    for (const path of ["/host", "/nothing", "/vms/x/console"]) {
      const answer = await host.api.raw("GET", path, { headers: { authorization: "Bearer 00" } });
      assert.equal(answer.status, 401);
      assert.equal(answer.headers["www-authenticate"], "Bearer");
    }
    await assert.rejects(host.api.json("GET", "/nothing"), (error: ApiError) => error.status === 404);
    assert.equal((await host.api.raw("HEAD", "/host")).status, 200);
  });
});

test("an agent that is restarted goes on with the VMs that run, and reports those that do not", async () => {
  const first = await TestAgent.start();
  const { directory, network } = first;
  const survivor = await first.api.createVm(await first.spec({}, { networks: [{}] }));
  const victim = await first.api.createVm(await first.spec({}, { networks: [{}] }));
  await first.api.act(survivor.id, "start");
  await first.api.act(victim.id, "start");
  const { pid } = await first.api.vm(survivor.id);
  const victimPid = (await first.api.vm(victim.id)).pid as number;
  first.abandon();
  process.kill(victimPid, "SIGKILL");
  await eventually(5000, "the end of the first agent's VM", async () =>
    first.runs().length === 1 ? true : undefined,
  );
  const second = await TestAgent.start({ directory, network });
  try {
    assert.equal(second.agent.token, first.agent.token);
    const found = await second.api.vm(survivor.id);
    assert.deepEqual([found.state, found.pid], ["running", pid]);
    assert.equal((await second.api.vm(victim.id)).state, "stopped");
    const console = await second.api.console(survivor.id);
    await console.feed.waitFor(/boot 0/, 5000);
    await second.api.act(survivor.id, "reset");
    await second.api.act(survivor.id, "shutdown");
    assert.equal((await second.api.vm(survivor.id)).lastEnd?.cause, "guest-power-off");
    assert.equal(network.taps.size, 0);
  } finally {
    await second.remove();
  }
});
