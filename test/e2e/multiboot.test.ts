/** `thimble vmm --config FILE` without the host agent's help: test programs in the foreground, ended by themselves. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileEntry } from "../../src/rig/guest/archive-entries.ts";
import { buildMultibootKernels } from "../framework/multiboot.ts";
import { startTransparentServer, type TransparentServer } from "../framework/servers.ts";
import { MiB } from "../framework/test-vm.ts";

const vmTimeoutMs = 60_000;

interface Run {
  readonly status: number;
  readonly output: string;
  readonly debug: string;
}

describe("a VMM by hand", () => {
  let transparent: TransparentServer;

  before(async () => {
    const { elf, flat } = await buildMultibootKernels();
    transparent = await startTransparentServer("e2e-multiboot", {
      files: [
        fileEntry("test/kernel.elf", elf),
        fileEntry("test/kernel.bin", flat),
        fileEntry("test/module", Buffer.from("words of the module")),
      ],
    });
  });

  after(async () => {
    transparent?.api.close();
    await transparent?.server.powerOff();
  });

  async function writeConfig(boot: object, more: object = {}): Promise<void> {
    const config = { memoryBytes: 32 * MiB, boot, debugExit: true, debugConsole: "/tmp/debug", ...more };
    await transparent.host.output(`mkdir -p /tmp; echo '${JSON.stringify(config)}' >/tmp/vm.json`);
  }

  async function run(boot: object, more?: object): Promise<Run> {
    const { host } = transparent;
    await writeConfig(boot, more);
    // The serial port and the VMM's own words would meet in the middle of lines.
    const { status, output } = await host.run(
      "/init vmm --config /tmp/vm.json </dev/null 2>/tmp/words; s=$?; cat /tmp/words; rm -f /tmp/words; (exit $s)",
      vmTimeoutMs,
    );
    const debug = await host.output("cat /tmp/debug; rm -f /tmp/debug");
    return { status, output, debug };
  }

  const given = [
    "loader Thimble",
    'command line "kernel.elf first second"',
    "lower 0x27f KiB, upper 0x7c00 KiB",
    "memory 0x0 + 0x9fc00 RAM",
    "memory 0x9fc00 + 0x400 reserved",
    "memory 0xe0000 + 0x20000 reserved",
    "memory 0x100000 + 0x1f00000 RAM",
  ];

  test("a multiboot kernel finds what it was given and ends with its own status", async () => {
    const { status, output, debug } = await run({ kernel: "/test/kernel.elf", commandLine: "first second" });
    assert.equal(status, 0x10 * 2 + 1, output);
    const lines = output.split("\n");
    for (const line of [...given, "all is well"]) {
      assert.ok(lines.includes(line), `"${line}" on the serial port:\n${output}`);
      assert.ok(debug.split("\n").includes(line), `"${line}" on the debug console:\n${debug}`);
    }
    // Port 0x402 leads to the same file.
    assert.match(debug, /^!$/m);
  });

  test("a flat kernel goes where its header says, and the initrd is its module", async () => {
    const boot = { kernel: "/test/kernel.bin", initrd: "/test/module" };
    const { status, output } = await run(boot, { cpus: 2, memoryBytes: 256 * MiB });
    assert.equal(status, 33, output);
    assert.match(output, /^command line "kernel.bin"$/m);
    assert.match(output, /^CPUs 0x2$/m);
    assert.match(output, /^module module: words of the module$/m);
  });

  test("a failed check of the test program is the VMM's status", async () => {
    const { status, output } = await run({ kernel: "/test/kernel.elf", commandLine: "fail" });
    assert.equal(status, 0xff, output);
    assert.match(output, /^check failed: 0x7f$/m);
  });

  test("a triple fault starts the test program anew, and a signal ends the VMM with status 0", async () => {
    await writeConfig({ kernel: "/test/kernel.elf", commandLine: "fault" });
    const { status, output } = await transparent.host.run(
      [
        "/init vmm --config /tmp/vm.json </dev/null >/tmp/serial & pid=$!",
        "until [ $(grep -c ^! /tmp/debug) -ge 3 ]; do sleep 0.2; done",
        "kill -TERM $pid; wait $pid; s=$?; grep -c '^loader Thimble' /tmp/serial; rm -f /tmp/debug /tmp/serial; (exit $s)",
      ].join("\n"),
      vmTimeoutMs,
    );
    assert.equal(status, 0, output);
    assert.match(output, /reset: triple fault/);
    assert.ok(Number(/^(\d+)$/m.exec(output)?.[1]) >= 3, output);
  });

  test("without the fields the ports are nobody's, and a configuration that cannot be used ends with 2", async () => {
    const { status, output } = await run({ kernel: "/test/module" });
    assert.equal(status, 2, output);
    assert.match(output, /boot: \/test\/module cannot be booted/);
    // The kernel's check 7 fails, and the write that should tell so goes nowhere: it hangs until it is ended.
    await writeConfig({ kernel: "/test/kernel.elf" }, { debugExit: false, debugConsole: undefined });
    const without = await transparent.host.run(
      [
        "/init vmm --config /tmp/vm.json </dev/null >/tmp/serial & pid=$!",
        "until grep -q 'check failed: 0x7' /tmp/serial; do sleep 0.2; done",
        "kill -TERM $pid; wait $pid",
      ].join("\n"),
      vmTimeoutMs,
    );
    assert.equal(without.status, 0, without.output);
  });
});
