/** CPU models and topology: what was asked for is what the guest sees, and what the host cannot do is refused. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sharedServer } from "../framework/servers.ts";
import { guestSpec, removeVm, withGuest } from "../framework/test-vm.ts";

const TOPOLOGY = "/sys/devices/system/cpu/cpu$c/topology";

describe("cpu", () => {
  test("x86-64-v2 with two sockets of one core of two threads, without SSE4.2", async () => {
    const { api } = await sharedServer();
    const cpu = { model: "x86-64-v2", sockets: 2, threads: 2, disable: ["sse4_2"] };
    const vm = { cpus: 4, cpu };
    await withGuest(api, vm, async ({ shell, id }) => {
      assert.deepEqual((await api.vm(id)).cpu, cpu);
      const info = await shell.output("cat /proc/cpuinfo");
      const line = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(info)?.[1] ?? "";
      assert.equal(line("model name"), "Thimble x86-64-v2");
      assert.equal(line("siblings"), "2");
      assert.equal(line("cpu cores"), "1");
      const flags = line("flags").split(" ");
      for (const flag of ["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "ssse3", "hypervisor", "x2apic"]) {
        assert.ok(flags.includes(flag), flag);
      }
      for (const flag of ["sse4_2", "aes", "avx", "bmi1", "svm", "perfctr_core", "constant_tsc"]) {
        assert.ok(!flags.includes(flag), flag);
      }
      const topology = await shell.output(
        `for c in 0 1 2 3; do cat ${TOPOLOGY}/physical_package_id ${TOPOLOGY}/core_id ${TOPOLOGY}/thread_siblings_list; done`,
      );
      assert.deepEqual(topology.trim().split(/\s+/), [
        ...["0", "0", "0-1", "0", "0", "0-1"],
        ...["1", "0", "2-3", "1", "0", "2-3"],
      ]);
      const clock = await shell.output(
        "cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
      );
      assert.equal(clock.trim(), "kvm-clock");
    });
  });

  test("a model that this host cannot provide is refused at the start, by what is missing", async () => {
    const { api } = await sharedServer();
    for (const [model, missing] of [
      ["x86-64-v3", /cpu\.model: this host cannot provide x86-64-v3: .*\bavx\b.*xsave|xsave.*\bavx\b/],
      ["x86-64-v4", /cpu\.model: this host cannot provide x86-64-v4: .*\bavx512f\b/],
    ] as const) {
      const vm = await api.createVm(await guestSpec(api, { cpu: { model } }));
      await assert.rejects(api.act(vm.id, "start"), (error: Error) => missing.test(error.message));
      await removeVm(api, vm.id);
    }
  });

  test("a topology that does not multiply to the CPUs, and an unknown model, are refused by their field", async () => {
    const { api } = await sharedServer();
    const spec = await guestSpec(api, { cpus: 4 });
    await assert.rejects(api.createVm({ ...spec, cpu: { sockets: 3 } }), { status: 400, field: "cpu" });
    await assert.rejects(api.createVm({ ...spec, cpu: { model: "486" } }), {
      status: 400,
      field: "cpu.model",
    });
  });
});
