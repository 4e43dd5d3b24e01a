/** Every size of VM with every release, several times over: what fails once in twenty shows here. */
import { describe, test } from "node:test";
import type { DebianRelease } from "../../src/rig/guest/guest-system.ts";
import { bootsAndSeesItsMachine, describeSize } from "../framework/boot-story.ts";
import { sharedServer } from "../framework/servers.ts";
import { GiB, MiB } from "../framework/test-vm.ts";

const rounds = 5;

describe("guests boot, all sizes", () => {
  for (let round = 1; round <= rounds; round++) {
    for (const release of [12, 13] satisfies DebianRelease[]) {
      for (const cpus of [1, 2, 4]) {
        for (const memoryBytes of [128 * MiB, 2 * GiB, 5 * GiB]) {
          const size = { release, cpus, memoryBytes };
          test(`round ${round}: ${describeSize(size)}`, async () =>
            bootsAndSeesItsMachine((await sharedServer()).api, size));
        }
      }
    }
  }
});
