/** A diskless server becomes a host, says what it is, and goes off when told. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { within } from "../../src/rig/time.ts";
import { sharedServer, startServer } from "../framework/servers.ts";
import { GiB, guestSpec, MiB, TestVm } from "../framework/test-vm.ts";

describe("host", () => {
  test("tells what it is", async () => {
    const host = await (await sharedServer()).api.host();
    assert.equal(host.accelerator, "kvm");
    assert.equal(host.cpus.count, 2);
    assert.match(host.kernel, /^\d+\.\d+/);
    assert.ok(host.bootMs > 0 && host.bootMs <= host.uptimeMs);
    assert.ok(host.memory.totalBytes > 7 * GiB && host.memory.totalBytes <= 8 * GiB);
    assert.ok(host.memory.availableBytes <= host.memory.totalBytes);
    assert.ok(host.addresses.some(({ address }) => address.startsWith("10.0.2.")));
  });

  test("works with an Intel NIC and goes off by its power button, shutting guests down", async () => {
    const { server, api } = await startServer("e2e-power-button", { nic: "e1000e", memoryBytes: 2 * GiB });
    try {
      const guest = await TestVm.boot(api, { memoryBytes: 128 * MiB, networks: [{}] });
      assert.match(
        await guest.shell.output("udhcpc -i eth0 -n -q -s /etc/udhcpc.script", 60_000),
        /lease of 10\.0\.2\./,
      );
      assert.equal(await server.powerOff(), true, "the power had to be cut");
    } finally {
      await server.cutPower();
    }
  });

  test("restarts and powers off when asked through the API", async () => {
    const { server, api } = await startServer("e2e-power-off", { memoryBytes: 2 * GiB });
    try {
      await api.uploadImage("forgotten", Buffer.from("a RAM datastore does not survive"));
      await api.createVm(await guestSpec(api));
      const position = server.console.position;
      await api.json("POST", "/host/actions/restart");
      const again = await server.waitForApi(120_000, position);
      assert.deepEqual(await again.vms(), []);
      await again.powerOffHost();
      await within(60_000, "Powering off", server.off);
    } finally {
      await server.cutPower();
    }
  });
});
