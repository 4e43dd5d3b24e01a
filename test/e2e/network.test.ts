/** Guests have the network that the host has, and each other. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { GuestShell } from "../../src/rig/guest/shell.ts";
import { type NameServer, startNameServer } from "../../src/rig/services/name-server.ts";
import { startTransferServer } from "../../src/rig/services/transfer-server.ts";
import { sharedServer } from "../framework/servers.ts";
import { MiB, withGuest } from "../framework/test-vm.ts";

/** With vhost-net, the way of every VM that does not ask otherwise; and through the VMM's own packet path. */
const transfersToTry = [
  { vhost: true, sizeBytes: 100_000_000 },
  { vhost: false, sizeBytes: 20_000_000 },
] as const;
/** This machine as seen from the server's network. */
const rigAddress = "10.0.2.2";
const servedName = "service.rig.test";
const servedAddress = "192.0.2.77";

const wireFrameBytes = 1514;

const networked = { memoryBytes: 512 * MiB, networks: [{}] } as const;

/** Gets a lease and gives the address. */
async function acquireLease(shell: GuestShell): Promise<string> {
  await shell.output("udhcpc -i eth0 -n -q -t 5 -s /etc/udhcpc.script", 60_000);
  const address = /inet ([\d.]+)\//.exec(await shell.output("ip -4 addr show dev eth0"))?.[1];
  assert.ok(address !== undefined, "the lease was not applied");
  return address;
}

/** MD5 digest of a file in a guest, in hex. */
async function digestOf(shell: GuestShell, path: string): Promise<string> {
  const output = await shell.output(`md5sum ${path}`, 120_000);
  const digest = /\b[0-9a-f]{32}\b/.exec(output)?.[0];
  assert.ok(digest !== undefined, `no digest in: ${output}`);
  return digest;
}

/** The mean length of what went through the guest's interface: above a wire's where segmentation is left to the other side. */
async function meanFrameBytes(shell: GuestShell, direction: "rx" | "tx"): Promise<number> {
  const counters = ["bytes", "packets"].map((unit) => `/sys/class/net/eth0/statistics/${direction}_${unit}`);
  const [bytes, frames] = (await shell.output(`cat ${counters.join(" ")}`)).trim().split(/\s+/).map(Number);
  return (bytes ?? 0) / (frames ?? 1);
}

describe("network", () => {
  let api: ApiClient;
  let names: NameServer;

  before(async () => {
    api = (await sharedServer()).api;
    names = await startNameServer({ [servedName]: servedAddress });
  });

  after(async () => {
    await names.stop();
  });

  test("a guest gets a DHCP lease through the bridge and resolves a name", async () => {
    await withGuest(api, networked, async ({ shell }) => {
      assert.match(await acquireLease(shell), /^10\.0\.2\.\d+$/);
      assert.match(await shell.output("ip route"), /default via 10\.0\.2\.2/);
      assert.match(await shell.output(`nslookup ${servedName} ${rigAddress}:${names.port}`), /192\.0\.2\.77/);
    });
  });

  for (const { vhost, sizeBytes } of transfersToTry) {
    const title = `${sizeBytes / 1e6} MB in both directions arrive whole, ${vhost ? "with" : "without"} vhost-net`;
    test(title, async () => {
      const { sourcePort, sinkPort, sourceDigest, stop } = await startTransferServer(sizeBytes);
      try {
        await withGuest(api, { ...networked, networks: [{ vhost }] }, async ({ shell }) => {
          await acquireLease(shell);
          await shell.output(`nc ${rigAddress} ${sourcePort} </dev/null >/tmp/received`, 300_000);
          assert.equal(await digestOf(shell, "/tmp/received"), sourceDigest);
          const answer = await shell.output(`nc ${rigAddress} ${sinkPort} </tmp/received`, 300_000);
          assert.equal(answer.trim(), sourceDigest);
        });
      } finally {
        await stop();
      }
    });
  }

  for (const vhost of [true, false]) {
    test(`two guests talk to each other in large segments, ${vhost ? "with" : "without"} vhost-net`, async () => {
      const options = { ...networked, networks: [{ vhost }] };
      await withGuest(api, options, (first) =>
        withGuest(api, options, async (second) => {
          const firstAddress = await acquireLease(first.shell);
          const secondAddress = await acquireLease(second.shell);
          assert.notEqual(firstAddress, secondAddress);
          assert.match(await first.shell.output(`ping -c 3 ${secondAddress}`), / 0% packet loss/);

          await first.shell.output("dd if=/dev/urandom of=/tmp/sent bs=1M count=8 2>/dev/null", 60_000);
          await first.shell.output("httpd -p 4000 -h /tmp");
          await second.shell.output(`wget -q -O /tmp/received http://${firstAddress}:4000/sent`, 60_000);
          assert.equal(
            await digestOf(second.shell, "/tmp/received"),
            await digestOf(first.shell, "/tmp/sent"),
          );
          assert.ok((await meanFrameBytes(first.shell, "tx")) > 2 * wireFrameBytes);
          assert.ok((await meanFrameBytes(second.shell, "rx")) > 2 * wireFrameBytes);
        }),
      );
    });
  }

  for (const vhost of [true, false]) {
    const way = vhost ? "with" : "without";
    test(`a guest with four CPUs uses four pairs of queues, ${way} vhost-net`, async () => {
      const options = { ...networked, cpus: 4, networks: [{ vhost }] };
      const { sinkPort, stop } = await startTransferServer(1);
      try {
        await withGuest(api, options, async ({ shell }) => {
          await acquireLease(shell);
          // A connection made on a CPU sends through that CPU's queue, and what is answered comes back through its pair.
          for (let cpu = 0; cpu < 4; cpu++) {
            const sent = `dd if=/dev/zero bs=1M count=4 2>/dev/null | taskset -c ${cpu} nc ${rigAddress} ${sinkPort}`;
            assert.match(await shell.output(sent, 120_000), /^[0-9a-f]{32}/);
          }
          const interrupts = await shell.output("cat /proc/interrupts");
          for (const queue of ["input.0", "input.1", "input.2", "input.3"]) {
            const line = interrupts.split("\n").find((text) => text.endsWith(`-${queue}`)) ?? "";
            const counts = line.split(/\s+/).filter((word) => /^\d+$/.test(word));
            assert.ok(
              counts.some((count) => Number(count) > 0),
              `${queue} was never used: ${interrupts}`,
            );
          }
        });
      } finally {
        await stop();
      }
    });
  }

  test("rates are kept in both directions, and lifted while the guest runs", async () => {
    const receiveBytes = 12_000_000;
    // What goes out is slow here without a limit, too.
    const transmitBytes = 3_000_000;
    const limits = { receive: { bytesPerSecond: 2_000_000 }, transmit: { bytesPerSecond: 500_000 } };
    const { sourcePort, sinkPort, stop } = await startTransferServer(receiveBytes);
    try {
      await withGuest(api, { ...networked, networks: [{ limits }] }, async ({ shell, id }) => {
        await acquireLease(shell);
        // What TCP learns from a rate it is not to remember when there is none any more.
        await shell.output("echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save");
        /** Seconds of the guest's clock that a command takes. */
        const seconds = async (command: string): Promise<number> => {
          const clock = "cut -d' ' -f1 /proc/uptime";
          const output = await shell.output(`${clock}; ${command} >/dev/null; ${clock}`, 300_000);
          const [before, after] = output.split(/\s+/).map(Number);
          return (after ?? 0) - (before ?? 0);
        };
        const receive = () => seconds(`nc ${rigAddress} ${sourcePort} </dev/null`);
        const transmit = () => seconds(`head -c ${transmitBytes} /dev/zero | nc ${rigAddress} ${sinkPort}`);
        const leastReceive = receiveBytes / (1.2 * limits.receive.bytesPerSecond);
        const leastTransmit = transmitBytes / (1.2 * limits.transmit.bytesPerSecond);
        const received = await receive();
        const sent = await transmit();
        const figures = `received in ${received} s, sent in ${sent} s`;
        console.log(`  limited: ${figures}`);
        assert.ok(received >= leastReceive && sent >= leastTransmit, figures);

        await api.limitNetwork(id, 0, {});
        const free = { received: await receive(), sent: await transmit() };
        console.log(`  lifted: received in ${free.received} s, sent in ${free.sent} s`);
        assert.ok(free.received < received && free.sent < sent);
      });
    } finally {
      await stop();
    }
  });

  test("a guest keeps the MAC address that it was given", async () => {
    const mac = "52:54:00:ab:cd:01";
    await withGuest(api, { ...networked, networks: [{ mac }] }, async ({ shell, vm }) => {
      assert.equal(vm.networks?.[0]?.mac, mac);
      assert.equal(await shell.output("cat /sys/class/net/eth0/address"), mac);
    });
  });
});
