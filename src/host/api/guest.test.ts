/** What the API does through a guest's agent, which here is a program that knows three commands. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { eventually } from "../../rig/time.ts";
import { TestAgent } from "../testing/test-agent.ts";

describe("guests through the API", () => {
  let host: TestAgent;
  before(async () => {
    host = await TestAgent.start();
  });
  after(() => host.remove());

  /** An agent in the guest of a running VM; returns the commands it has been given. */
  function serveAgent(id: string): { asked: string[]; close(): void } {
    const asked: string[] = [];
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        for (const line of bytes.toString("latin1").split("\n")) {
          if (line === "") continue;
          const { execute, arguments: args } = JSON.parse(line.replace(/^\xff/, ""));
          asked.push(execute);
          const sync = execute === "guest-sync-delimited";
          const known = sync || execute === "guest-fsfreeze-freeze" || execute === "guest-fsfreeze-thaw";
          if (sync) socket.write(Buffer.of(0xff));
          const answer = known ? { return: sync ? args.id : 1 } : { error: { desc: "unknown" } };
          if (execute !== "guest-shutdown") socket.write(`${JSON.stringify(answer)}\n`);
        }
      });
    }).listen(join(host.directory, "run/vms", id, "agent.sock"));
    return { asked, close: () => server.close() };
  }

  test("without an agent, freezing is refused and a shutdown presses the button", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec());
    assert.equal(vm.guestAgent, undefined);
    await assert.rejects(api.guest(vm.id, "freeze"), { status: 409, code: "vm_stopped" });
    await api.act(vm.id, "start");
    assert.deepEqual((await api.vm(vm.id)).guestAgent, { connected: false });
    for (const what of ["freeze", "thaw"] as const) {
      await assert.rejects(api.guest(vm.id, what), { status: 409, code: "guest_agent_gone" });
    }
    await assert.rejects(api.guest(vm.id, "freeze", { timeoutMs: 1 }), { status: 400, field: "timeoutMs" });
    await assert.rejects(api.act(vm.id, "shutdown", 100, "agent"), { code: "guest_agent_gone" });
    assert.equal((await api.vm(vm.id)).state, "running");
    await api.act(vm.id, "shutdown");
    await api.deleteVm(vm.id);
  });

  test("with one, it is asked first, and the button is there for who wants it", async () => {
    const { api } = host;
    const vm = await api.createVm(await host.spec());
    await api.act(vm.id, "start");
    const agent = serveAgent(vm.id);
    await eventually(20_000, "the agent", async () =>
      (await api.vm(vm.id)).guestAgent?.connected ? true : undefined,
    );
    assert.equal(await api.guest(vm.id, "freeze"), 1);
    assert.equal((await api.vm(vm.id)).guestAgent?.frozen, true);
    assert.equal(await api.guest(vm.id, "thaw"), 1);
    await assert.rejects(api.act(vm.id, "shutdown", 100), { code: "shutdown_timeout" });
    assert.ok(agent.asked.includes("guest-shutdown"));
    await api.act(vm.id, "shutdown", 10_000, "acpi");
    assert.equal((await api.vm(vm.id)).state, "stopped");
    agent.close();
    await api.deleteVm(vm.id);
  });

  test("context ids are chosen, kept, and no two VMs'", async () => {
    const { api } = host;
    const make = async (vsock: { cid?: number }) => api.createVm(await host.spec({}, { vsock }));
    const first = await make({});
    const second = await make({ cid: 4 });
    const third = await make({});
    assert.deepEqual(
      [first, second, third].map(({ vsock }) => vsock?.cid),
      [3, 4, 5],
    );
    await assert.rejects(make({ cid: 4 }), { status: 409, code: "cid_in_use", field: "vsock.cid" });
    await assert.rejects(make({ cid: 2 }), { status: 400, field: "vsock.cid" });
    for (const { id } of [first, second, third]) await api.deleteVm(id);
  });
});
