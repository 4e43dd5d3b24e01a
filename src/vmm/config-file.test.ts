import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "./config-file.ts";

const complete = {
  name: "web",
  cpus: 2,
  cpu: { model: "x86-64-v2", disable: ["aes"], sockets: 2, cores: 1, threads: 1 },
  memoryBytes: 512 * 1024 * 1024,
  memory: {
    hugePages: true,
    mergeable: false,
    freePageReporting: false,
    balloonTargetBytes: 4096,
    statisticsSeconds: 0,
  },
  boot: { kernel: "/images/vmlinuz", initrd: "/images/initrd", commandLine: "console=ttyS0" },
  disks: [{ path: "/images/disk", readOnly: false, serial: "d0" }],
  networks: [
    {
      tap: "tap0",
      mac: "52:54:00:12:34:56",
      vhost: false,
      queues: 2,
      limits: { receive: { bytesPerSecond: 65536, burstBytes: 131072 }, transmit: { bytesPerSecond: 1e9 } },
    },
  ],
  serial: { kind: "socket", path: "/run/vm/serial" },
  controlSocket: "/run/vm/control",
  virtioConsole: { path: "/run/vm/console" },
  channels: [
    { name: "org.qemu.guest_agent.0", path: "/run/vm/agent" },
    { name: "x", path: "/run/vm/x" },
  ],
  vsock: { cid: 3 },
  graphics: { kind: "vnc", path: "/run/vm/vnc" },
  debugExit: true,
  debugConsole: "/run/vm/debug",
};
const smallest = {
  name: "x",
  cpus: 1,
  memoryBytes: 16 * 1024 * 1024,
  boot: { kernel: "k", commandLine: "" },
  disks: [],
  networks: [],
  serial: { kind: "stdio" },
};

test("a complete and a smallest configuration pass unchanged", () => {
  assert.deepEqual(parseConfig(JSON.stringify(complete)), complete);
  assert.deepEqual(parseConfig(JSON.stringify(smallest)), smallest);
});

test("what a test program does not need may be left out", () => {
  const { memoryBytes } = smallest;
  const parsed = parseConfig(JSON.stringify({ memoryBytes, boot: { kernel: "k" } }));
  assert.deepEqual(parsed, { ...smallest, name: "vm" });
});

test("a firmware configuration passes unchanged, and its wrong fields are refused by name", () => {
  const boot = { firmware: "/code.fd", nvram: "/vm/nvram.fd", order: ["network0", "disk0"] };
  assert.deepEqual(parseConfig(JSON.stringify({ ...complete, boot })), { ...complete, boot });
  const kernel = { ...boot, kernel: "/k", initrd: "/i", commandLine: "quiet" };
  assert.deepEqual(parseConfig(JSON.stringify({ ...complete, boot: kernel })), { ...complete, boot: kernel });
  const small = { ...complete, boot, memoryBytes: 62 * 2 ** 20 };
  assert.throws(
    () => parseConfig(JSON.stringify(small)),
    /^ThimbleError: memoryBytes must be at least 64 MiB/,
  );
  assert.doesNotThrow(() => parseConfig(JSON.stringify({ ...small, memoryBytes: 64 * 2 ** 20 })));
  const cases: [string, object][] = [
    ["boot.firmware", { firmware: "" }],
    ["boot.nvram", { nvram: undefined }],
    ["boot.kernel", { kernel: "" }],
    ["boot.initrd", { initrd: "/i" }],
    ["boot.initrd", { kernel: "/k", initrd: "" }],
    ["boot.commandLine", { commandLine: "quiet" }],
    ["boot.order", { order: "disk0" }],
    ["boot.order[1]", { order: ["disk0", "disk1"] }],
    ["boot.order[0]", { order: ["floppy0"] }],
    ["boot.order[0]", { order: [0] }],
  ];
  for (const [field, change] of cases) {
    assert.throws(
      () => parseConfig(JSON.stringify({ ...complete, boot: { ...boot, ...change } })),
      (error: Error) => error.message.startsWith(`${field} `),
      field,
    );
  }
});

test("each wrong field is refused by its name", () => {
  const cases: [string, unknown][] = [
    ["name", ""],
    ["name", "x".repeat(65)],
    ["memory", true],
    ["memory.hugePages", 1],
    ["memory.balloonTargetBytes", 512 * 1024 * 1024 + 1],
    ["memory.statisticsSeconds", 3601],
    ["memory.bogus", 1],
    ["cpus", 0],
    ["cpus", 1000],
    ["cpus", 1.5],
    ["cpus", "2"],
    ["cpu", { sockets: 3 }],
    ["cpu.model", "486"],
    ["cpu.disable[0]", "sse2"],
    ["cpu.threads", 0],
    ["cpu.bogus", 1],
    ["memoryBytes", 8 * 1024 * 1024],
    ["memoryBytes", 512 * 1024 * 1024 + 4096],
    ["memoryBytes", 2 ** 50],
    ["memoryBytes", null],
    ["boot", null],
    ["boot.kernel", ""],
    ["boot.kernel", "a\0b"],
    ["boot.initrd", 7],
    ["boot.commandLine", "x".repeat(2048)],
    ["boot.bogus", 1],
    ["disks", {}],
    ["disks", Array(17).fill(complete.disks[0])],
    ["disks[0]", 3],
    ["disks[0].path", undefined],
    ["disks[0].readOnly", 1],
    ["disks[0].serial", "x".repeat(21)],
    ["disks[0].serial", "é"],
    ["networks[0].tap", "a/b"],
    ["networks[0].tap", "sixteen-letters!"],
    ["networks[0].mac", "52:54:00:12:34"],
    ["networks[0].mac", "53:54:00:12:34:56"],
    ["networks[0].vhost", "yes"],
    ["networks[0].queues", 0],
    ["networks[0].queues", 17],
    ["networks[0].limits", []],
    ["networks[0].limits.receive", 1],
    ["networks[0].limits.receive.bytesPerSecond", 65535],
    ["networks[0].limits.transmit.burstBytes", 1000],
    ["serial", null],
    ["serial.kind", "tcp"],
    ["serial.path", "x".repeat(108)],
    ["controlSocket", ""],
    ["virtioConsole.path", undefined],
    ["channels[0].name", "../x"],
    ["channels[1].name", "org.qemu.guest_agent.0"],
    ["channels[1].path", "/run/vm/agent"],
    ["vsock.cid", 2],
    ["vsock.cid", 2 ** 32 - 1],
    ["graphics.kind", "spice"],
    ["graphics.path", ""],
    ["graphics.port", 5900],
    ["debugExit", 1],
    ["debugConsole", ""],
    ["bogus", true],
  ];
  for (const [field, value] of cases) {
    const config = structuredClone(complete) as unknown as Record<string, unknown>;
    const steps = field.replaceAll("]", "").split(/[.[]/);
    let at = config;
    for (const step of steps.slice(0, -1)) at = at[step] as Record<string, unknown>;
    at[steps.at(-1) as string] = value;
    assert.throws(
      () => parseConfig(JSON.stringify(config)),
      (error: Error & { code?: string }) =>
        error.code === "bad_config" && error.message.startsWith(`${field} `),
      `${field} = ${JSON.stringify(value)}`,
    );
  }
});

test("what is not a JSON object is refused", () => {
  assert.throws(() => parseConfig("{"), /is not JSON/);
  assert.throws(() => parseConfig("[]"), /must be an object/);
  assert.throws(() => parseConfig('{"serial":{"kind":"stdio","path":"x"}}'), /memoryBytes must/);
});
