/** A guest's memory is the host's until the guest touches it, and comes back when the guest gives it up. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { VmStatistics } from "../../src/rig/api-types.ts";
import type { GuestShell } from "../../src/rig/guest/shell.ts";
import { eventually } from "../../src/rig/time.ts";
import { sharedServer } from "../framework/servers.ts";
import { GiB, MiB, type TestVm, withGuest } from "../framework/test-vm.ts";

const PATIENCE_MS = 120_000;
/** The kernel's advisor takes up to 200 s for one look at all mergeable memory, and pages merge at the second. */
const MERGING_PATIENCE_MS = 400_000;
const loadDriver = "insmod /modules/virtio_balloon";

async function meminfo(shell: GuestShell, field: string): Promise<number> {
  return Number(await shell.output(`awk '/^${field}:/ {print $2}' /proc/meminfo`)) * 1024;
}

/** Waits until the VM's statistics are as wanted; the failure names the last ones. */
async function statisticsWhen(
  guest: TestVm,
  what: string,
  isSo: (statistics: VmStatistics) => boolean,
  patienceMs = PATIENCE_MS,
): Promise<VmStatistics> {
  let last: VmStatistics | undefined;
  const result = await eventually(patienceMs, what, async () => {
    last = await guest.api.statistics(guest.id);
    return isSo(last) ? last : undefined;
  }).catch(() => null);
  assert.ok(result !== null, `${what}: ${JSON.stringify(last)}`);
  return result;
}

/** Fills a file in the guest's memory with one random MiB again and again: quick, and no page is empty. */
async function fillMemory(shell: GuestShell, mib: number, name = "fill"): Promise<void> {
  await shell.output("mount -o remount,size=95% /tmp");
  await shell.output("dd if=/dev/urandom of=/tmp/seed bs=1M count=1 2>/dev/null");
  await shell.output(`for i in $(seq ${mib}); do cat /tmp/seed; done >/tmp/${name}`, PATIENCE_MS);
}

/** Fails unless the file is as `fillMemory` left it. */
async function verifyMemory(shell: GuestShell, mib: number, name = "fill"): Promise<void> {
  await shell.output(`for i in $(seq ${mib}); do cat /tmp/seed; done | cmp - /tmp/${name}`, PATIENCE_MS);
}

describe("guest memory", () => {
  let api: ApiClient;

  before(async () => {
    api = (await sharedServer()).api;
  });

  test("a VM of 5 GiB takes only what it touches", async () => {
    await withGuest(api, { memoryBytes: 5 * GiB }, async (guest) => {
      assert.ok((await meminfo(guest.shell, "MemTotal")) > 4.7 * GiB);
      const { guestResidentBytes } = await api.statistics(guest.id);
      assert.ok(guestResidentBytes < 300 * MiB, `${guestResidentBytes} bytes are resident`);
      await fillMemory(guest.shell, 200);
      const after = await api.statistics(guest.id);
      const grown = after.guestResidentBytes - guestResidentBytes;
      // The kernel's file, which the VMM loads, fills huge pages in any case.
      assert.ok(after.guestHugeBytes <= 16 * MiB, `${after.guestHugeBytes} bytes are in huge pages`);
      // Part of it goes where the guest has freed memory that is resident already: its kernel's file, for one.
      assert.ok(grown >= 170 * MiB && grown < 260 * MiB, `200 MiB took ${grown} bytes`);
    });
  });

  test("an inflated balloon's memory is the host's, and the guest's again when deflated", async () => {
    const inflated = 512 * MiB;
    // Reporting would give free memory back by itself; here only the balloon is to.
    const memory = { freePageReporting: false, statisticsSeconds: 1 };
    await withGuest(api, { memoryBytes: 1 * GiB, memory }, async (guest) => {
      const { shell } = guest;
      await fillMemory(shell, 600);
      await shell.output("rm /tmp/fill");
      const full = await api.statistics(guest.id);
      assert.ok(full.guestResidentBytes >= 600 * MiB);
      assert.equal(full.balloon?.hasDriver, false);

      // With a balloon that goes back before the guest runs out of memory, Linux leaves MemTotal as it is.
      const free = await meminfo(shell, "MemFree");

      // Set before there is a driver; kept in the VM's description.
      assert.equal((await api.setBalloon(guest.id, inflated)).memory?.balloonTargetBytes, inflated);
      await shell.output(loadDriver);
      const small = await statisticsWhen(
        guest,
        "inflated",
        ({ balloon }) => balloon?.actualBytes === inflated,
      );
      const fallen = full.guestResidentBytes - small.guestResidentBytes;
      assert.ok(fallen > 0.9 * inflated && fallen <= inflated, `resident memory fell by ${fallen} bytes`);
      const taken = free - (await meminfo(shell, "MemFree"));
      assert.ok(Math.abs(taken - inflated) < 16 * MiB, `the guest has ${taken} bytes less`);

      const told = await statisticsWhen(
        guest,
        "statistics",
        ({ balloon }) => (balloon?.statistics?.freeBytes ?? Infinity) < free - 0.9 * inflated,
      );
      const { statistics } = told.balloon ?? {};
      assert.equal(statistics?.totalBytes, await meminfo(shell, "MemTotal"));
      const later = await statisticsWhen(
        guest,
        "newer statistics",
        ({ balloon }) => (balloon?.statistics?.minorFaults ?? 0) > (statistics?.minorFaults as number),
      );
      assert.ok((later.balloon?.statistics?.ageMs ?? Infinity) < 30_000);

      await api.setBalloon(guest.id, 0);
      await statisticsWhen(guest, "deflated", ({ balloon }) => balloon?.actualBytes === 0);
      // MemFree leaves out what Linux keeps at hand for each CPU, so the driver's own count tells it.
      const moved = (await shell.output("awk '/^balloon_(in|de)flate/ {print $2}' /proc/vmstat")).split("\n");
      assert.ok(
        moved.length === 2 && Number(moved[0]) * 4096 >= inflated && moved[0] === moved[1],
        `${moved}`,
      );
      await fillMemory(shell, 600);
      await verifyMemory(shell, 600);
      assert.ok((await api.statistics(guest.id)).guestResidentBytes > small.guestResidentBytes + 400 * MiB);
    });
  });

  test("memory that the guest frees goes back to the host", async () => {
    await withGuest(api, { memoryBytes: 768 * MiB }, async (guest) => {
      await guest.shell.output(loadDriver);
      await fillMemory(guest.shell, 100, "kept");
      await guest.shell.output("cp /tmp/seed /tmp/kept-seed");
      await fillMemory(guest.shell, 400);
      const full = (await api.statistics(guest.id)).guestResidentBytes;
      assert.ok(full >= 500 * MiB);
      await guest.shell.output("rm /tmp/fill");
      await statisticsWhen(
        guest,
        "freed memory came back",
        ({ guestResidentBytes }) => guestResidentBytes < full - 350 * MiB,
      );
      await guest.shell.output("cp /tmp/kept-seed /tmp/seed");
      await verifyMemory(guest.shell, 100, "kept");
    });
  });

  test("huge pages are used where they are asked for", async () => {
    await withGuest(api, { memory: { hugePages: true } }, async (guest) => {
      await fillMemory(guest.shell, 100);
      const { guestHugeBytes, guestResidentBytes } = await api.statistics(guest.id);
      assert.ok(guestHugeBytes >= 100 * MiB, `of ${guestResidentBytes} bytes ${guestHugeBytes} are huge`);
    });
  });

  test("VMs that allow it share memory of equal content", async () => {
    // Small, so that the host soon knows all of them.
    const options = { memoryBytes: 96 * MiB, memory: { mergeable: true } };
    await withGuest(api, options, (first) =>
      withGuest(api, options, async (second) => {
        const bothShare = 8 * MiB;
        for (const guest of [first, second]) {
          const merged = await statisticsWhen(
            guest,
            "merged",
            ({ guestMergedBytes }) => guestMergedBytes > bothShare,
            MERGING_PATIENCE_MS,
          );
          assert.ok(merged.guestMergedBytes <= merged.guestResidentBytes);
        }
        // Both go on undisturbed.
        for (const { shell } of [first, second]) {
          await fillMemory(shell, 10);
          await verifyMemory(shell, 10);
        }
      }),
    );
  });
});
