/** Unmodified Debian kernels boot in every size of VM, see what they were given, and have nothing to complain about. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { DebianRelease } from "../../src/rig/guest/guest-system.ts";
import { complaintsCommand, unexpectedComplaints, usableMemoryBytes } from "../framework/kernel-log.ts";
import { sharedServer } from "../framework/servers.ts";
import { GiB, MiB, withGuest } from "../framework/test-vm.ts";

/** Each number of vCPUs with each amount of memory, and both releases with each of either. */
const combinations: readonly (readonly [DebianRelease, number, number])[] = [
  [12, 1, 128 * MiB],
  [13, 1, 2 * GiB],
  [12, 1, 5 * GiB],
  [13, 2, 128 * MiB],
  [12, 2, 2 * GiB],
  [13, 2, 5 * GiB],
  [12, 4, 128 * MiB],
  [13, 4, 2 * GiB],
  [12, 4, 5 * GiB],
];

/** Below 1 MiB a PC keeps up to 384 KiB from use, and firmware tables take a few pages. */
const reservedMaxBytes = 1 * MiB;

describe("guests boot", () => {
  for (const [release, cpus, memoryBytes] of combinations) {
    test(`Debian ${release}, ${cpus} vCPU, ${memoryBytes / MiB} MiB`, async () => {
      const { api } = await sharedServer();
      await withGuest(api, { release, cpus, memoryBytes }, async ({ shell }) => {
        assert.equal(await shell.output("grep -c ^processor /proc/cpuinfo"), String(cpus));
        assert.equal(
          await shell.output("cat /sys/devices/system/cpu/online"),
          cpus === 1 ? "0" : `0-${cpus - 1}`,
        );

        const usable = usableMemoryBytes(await shell.output("dmesg | grep BIOS-e820"));
        assert.ok(
          usable <= memoryBytes && usable >= memoryBytes - reservedMaxBytes,
          `the guest sees ${usable} bytes of ${memoryBytes}`,
        );
        // The far end of memory, above the PCI hole for the largest, can be written and read.
        const free =
          Number(/MemAvailable:\s+(\d+)/.exec(await shell.output("cat /proc/meminfo"))?.[1]) * 1024;
        assert.ok(free > usable * 0.5, `only ${free} bytes are available`);

        assert.deepEqual(unexpectedComplaints(await shell.output(complaintsCommand)), []);
      });
    });
  }
});
