/** A VM's life through the API: every action a task, every end an event. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GuestShell } from "../../src/rig/guest/shell.ts";
import { sharedServer } from "../framework/servers.ts";
import { guestReadyTimeoutMs, guestSpec, MiB, TestVm, withGuest } from "../framework/test-vm.ts";

describe("life cycle", () => {
  test("create, start, shut down by ACPI, start again, force off, delete", async () => {
    const { api } = await sharedServer();
    const firstEvent = (await api.events()).at(-1)?.seq ?? 0;
    const vm = await api.createVm(await guestSpec(api, { cpus: 2 }));
    assert.equal(vm.state, "stopped");

    const started = await api.act(vm.id, "start");
    assert.equal(started.state, "succeeded");
    assert.deepEqual(started.object, { kind: "vm", id: vm.id });
    assert.equal((await api.vm(vm.id)).state, "running");
    await assert.rejects(api.deleteVm(vm.id), { code: "vm_running" });

    const guest = await TestVm.attach(api, vm);
    await api.act(vm.id, "shutdown");
    const stopped = await api.vm(vm.id);
    assert.equal(stopped.state, "stopped");
    assert.equal(stopped.lastEnd?.cause, "guest-power-off");
    guest.console.vanish();

    await api.act(vm.id, "start");
    await api.act(vm.id, "force-off");
    assert.equal((await api.vm(vm.id)).state, "stopped");

    await api.deleteVm(vm.id);
    await assert.rejects(api.vm(vm.id), { status: 404, code: "vm_not_found" });
    const kinds = (await api.events(firstEvent))
      .filter(({ object }) => object.id === vm.id)
      .map(({ kind }) => kind);
    assert.deepEqual(kinds, ["vm.started", "vm.ended", "vm.started", "vm.ended"]);
  });

  test("a guest that powers itself off stops its VM", async () => {
    const { api } = await sharedServer();
    const after = (await api.events()).at(-1)?.seq ?? 0;
    await withGuest(api, {}, async (guest) => {
      guest.shell.send("poweroff -f");
      const event = await api.waitForEvent(
        ({ kind, object }) => kind === "vm.ended" && object.id === guest.id,
        after,
      );
      assert.equal(event.cause, "guest-power-off");
      assert.equal((await api.vm(guest.id)).state, "stopped");
    });
  });

  test("reset through the API, and a reboot by the guest, boot the guest anew", async () => {
    const { api } = await sharedServer();
    await withGuest(api, { cpus: 2 }, async (guest) => {
      const { pid } = await api.vm(guest.id);
      await guest.shell.output("touch /run/before-the-reset");

      const resets: readonly (() => Promise<unknown>)[] = [
        () => api.act(guest.id, "reset"),
        async () => guest.shell.send("reboot -f"),
      ];
      for (const [index, reset] of resets.entries()) {
        const position = guest.console.feed.position;
        await reset();
        const shell = await GuestShell.open(guest.console, guestReadyTimeoutMs, position);
        assert.equal((await shell.run("ls /run/before-the-reset")).status, 1);
        assert.equal((await api.statistics(guest.id)).resets, index + 1);
        const now = await api.vm(guest.id);
        assert.equal(now.state, "running");
        assert.equal(now.pid, pid);
      }
    });
  });

  test("two VMs run at once and do not see each other's memory or console", async () => {
    const { api } = await sharedServer();
    await withGuest(api, { release: 12 }, (first) =>
      withGuest(api, { release: 13 }, async (second) => {
        assert.match(await first.shell.output("uname -r"), /^6\.1\./);
        assert.match(await second.shell.output("uname -r"), /^6\.12\./);
        const states = (await api.vms()).filter(({ id }) => id === first.id || id === second.id);
        assert.deepEqual(
          states.map(({ state }) => state),
          ["running", "running"],
        );
      }),
    );
  });

  test("a guest that ignores the power button fails the shutdown task and goes on", async () => {
    const { api } = await sharedServer();
    await withGuest(api, {}, async (guest) => {
      await guest.shell.output("killall acpid");
      await assert.rejects(api.act(guest.id, "shutdown", 3000), { name: "ThimbleError" });
      assert.equal(await guest.shell.output("echo alive"), "alive");
      assert.equal((await api.vm(guest.id)).state, "running");
    });
  });

  test("a running VM's memory overhead is reported and small", async () => {
    const { api } = await sharedServer();
    await withGuest(api, { memoryBytes: 256 * MiB }, async (guest) => {
      const statistics = await api.statistics(guest.id);
      assert.ok(statistics.overheadBytes > 0);
      // A tenth of QEMU q35's 52 MiB (issue 2).
      assert.ok(statistics.overheadBytes <= 5.2 * MiB, `the VMM takes ${statistics.overheadBytes} bytes`);
      assert.ok(statistics.pssBytes >= statistics.overheadBytes);
    });
  });
});
