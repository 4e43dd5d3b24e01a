/** One guest of a given size boots, sees what it was given, and has nothing to complain about. */
import assert from "node:assert/strict";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { DebianRelease } from "../../src/rig/guest/guest-system.ts";
import { complaintsCommand, unexpectedComplaints, usableMemoryBytes } from "./kernel-log.ts";
import { MiB, withGuest } from "./test-vm.ts";

export interface GuestSize {
  readonly release: DebianRelease;
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** Debian's kernel takes some 60 MB for itself, and of each page a part: its description, and what it keeps free. */
const kernelMaxBytes = 80 * MiB;
const kernelMaxShare = 0.1;
/** Below 1 MiB a PC keeps up to 384 KiB from use, and firmware tables take a few pages. */
const reservedMaxBytes = 1 * MiB;

/** "Debian 12, 4 vCPU, 5120 MiB" */
export function describeSize({ release, cpus, memoryBytes }: GuestSize): string {
  return `Debian ${release}, ${cpus} vCPU, ${memoryBytes / MiB} MiB`;
}

/** Boots such a guest and looks at it. */
export async function bootsAndSeesItsMachine(api: ApiClient, size: GuestSize): Promise<void> {
  const { cpus, memoryBytes } = size;
  await withGuest(api, size, async ({ shell }) => {
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
    const available =
      Number(/MemAvailable:\s+(\d+)/.exec(await shell.output("cat /proc/meminfo"))?.[1]) * 1024;
    assert.ok(
      available > usable * (1 - kernelMaxShare) - kernelMaxBytes,
      `only ${available} bytes are available`,
    );

    assert.deepEqual(unexpectedComplaints(await shell.output(complaintsCommand)), []);
  });
}
