/** Debian's unmodified QEMU guest agent in a guest, and what the host learns and does through it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { Vm } from "../../src/rig/api-types.ts";
import { eventually } from "../../src/rig/time.ts";
import { ensureAgentDisk } from "../framework/channels.ts";
import { sharedServer } from "../framework/servers.ts";
import { MiB, type TestVm, withGuest } from "../framework/test-vm.ts";

const PATIENCE_MS = 60_000;
/** udev, which names ports, is not in this guest. */
const runAgent = "/usr/sbin/qemu-ga -m virtio-serial -p /dev/vport*p1 -t /run";

describe("the guest's agent", () => {
  let api: ApiClient;
  let image: string;

  before(async () => {
    api = (await sharedServer()).api;
    image = await ensureAgentDisk(api);
    await api.createDisk("agent-data.img", 32 * MiB);
  });

  after(() => api?.deleteImage("agent-data.img"));

  const guestWhen = (guest: TestVm, what: string, isSo: (agent: NonNullable<Vm["guestAgent"]>) => boolean) =>
    eventually(PATIENCE_MS, what, async () => {
      const { guestAgent } = await api.vm(guest.id);
      return guestAgent !== undefined && isSo(guestAgent) ? guestAgent : undefined;
    });

  const disks = () => [{ image, readOnly: true }, { image: "agent-data.img" }];

  /** Whether a write that was begun has come to its end. */
  const hasWritten = async ({ shell }: TestVm) => (await shell.run("test -e /run/written")).status === 0;

  test("tells name, system and addresses, freezes and thaws, comes back after a reset, and powers off", async () => {
    const commandLine = "root=/dev/vda ro guest.dhcp";
    await withGuest(api, { disks: disks(), networks: [{}], commandLine }, async (guest) => {
      const { shell } = guest;
      assert.equal((await api.vm(guest.id)).guestAgent?.connected, false);
      await assert.rejects(api.guest(guest.id, "freeze"), { status: 409, code: "guest_agent_gone" });
      assert.equal(await shell.output("cat /sys/class/virtio-ports/*/name"), "org.qemu.guest_agent.0");

      await shell.output("mke2fs -q /dev/vdb && mount -t ext4 /dev/vdb /mnt");
      await shell.output(`${runAgent} >/run/agent.log 2>&1 & echo started`);
      const facts = await guestWhen(guest, "addresses", ({ addresses = [] }) => addresses.length > 0);
      assert.match(facts.version ?? "", /^\d+\.\d+/);
      assert.equal(facts.hostName, "guest");
      const own = await shell.output("ip -4 -o addr show eth0 | awk '{print $4}' | cut -d/ -f1");
      assert.ok(
        facts.addresses?.some(({ address }) => address === own),
        JSON.stringify(facts),
      );
      assert.ok(facts.addresses?.every(({ address }) => address !== "127.0.0.1"));

      const write =
        "dd if=/dev/zero of=/mnt/file bs=64k count=1 conv=fsync 2>/dev/null && touch /run/written";
      assert.equal(await api.guest(guest.id, "freeze", { timeoutMs: 120_000 }), 2);
      await assert.rejects(api.guest(guest.id, "freeze"), { status: 409, code: "guest_frozen" });
      assert.equal((await api.vm(guest.id)).guestAgent?.frozen, true);
      await shell.output(`(${write}) & echo begun`);
      await shell.output("sleep 3");
      assert.equal(await hasWritten(guest), false);
      assert.equal(await api.guest(guest.id, "thaw"), 2);
      await eventually(PATIENCE_MS, "the write", async () => ((await hasWritten(guest)) ? true : undefined));
      assert.equal((await api.vm(guest.id)).guestAgent?.frozen, undefined);

      // Nobody thaws it: the time does.
      await shell.output("rm /run/written");
      assert.equal(await api.guest(guest.id, "freeze", { timeoutMs: 4000 }), 2);
      await shell.output(`(${write}) & echo begun`);
      assert.equal(await hasWritten(guest), false);
      await eventually(PATIENCE_MS, "the write", async () => ((await hasWritten(guest)) ? true : undefined));

      // An agent that ends is seen to be gone, and one that comes is seen.
      await shell.output("killall qemu-ga");
      await guestWhen(guest, "the agent's end", ({ connected }) => !connected);
      await shell.output(`${runAgent} >/run/agent.log 2>&1 & echo started`);
      await guestWhen(guest, "the agent's return", ({ connected }) => connected);

      // What the agent runs, an installed system has.
      await shell.output("mkdir -p /run/sbin && cp -a /sbin/* /run/sbin/ && mount -o bind /run/sbin /sbin");
      await shell.output(
        "printf '#!/bin/sh\\necho \"$@\" >/dev/ttyS0\\nsync\\nexec poweroff -f\\n' >/sbin/shutdown",
      );
      await shell.output("chmod +x /sbin/shutdown");
      await api.act(guest.id, "shutdown", PATIENCE_MS, "agent");
      const off = await api.vm(guest.id);
      assert.equal(off.lastEnd?.cause, "guest-power-off");
      assert.equal(off.guestAgent, undefined);
      assert.match(guest.console.feed.since(0), /-P/);
    });
  });
});
