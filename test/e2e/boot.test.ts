/** Unmodified Debian kernels boot in every size of VM. */
import { describe, test } from "node:test";
import { bootsAndSeesItsMachine, describeSize, type GuestSize } from "../framework/boot-story.ts";
import { sharedServer } from "../framework/servers.ts";
import { GiB, MiB } from "../framework/test-vm.ts";

/** Each number of vCPUs with each amount of memory, and both releases with each of either. test/long has all. */
const sizes: readonly GuestSize[] = [
  { release: 12, cpus: 1, memoryBytes: 128 * MiB },
  { release: 13, cpus: 1, memoryBytes: 2 * GiB },
  { release: 12, cpus: 1, memoryBytes: 5 * GiB },
  { release: 13, cpus: 2, memoryBytes: 128 * MiB },
  { release: 12, cpus: 2, memoryBytes: 2 * GiB },
  { release: 13, cpus: 2, memoryBytes: 5 * GiB },
  { release: 13, cpus: 4, memoryBytes: 128 * MiB },
  { release: 13, cpus: 4, memoryBytes: 2 * GiB },
  { release: 12, cpus: 4, memoryBytes: 5 * GiB },
];

describe("guests boot", () => {
  for (const size of sizes) {
    test(describeSize(size), async () => bootsAndSeesItsMachine((await sharedServer()).api, size));
  }
});
