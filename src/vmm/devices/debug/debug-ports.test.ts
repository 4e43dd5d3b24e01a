import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { PioBus } from "../../bus/pio.ts";
import { Port } from "../../platform.ts";
import { DebugConsole, DebugExit, debugExitStatus } from "./debug-ports.ts";

function machine() {
  const out: number[] = [];
  const exits: number[] = [];
  const pio = new PioBus();
  const console = new DebugConsole((byte) => out.push(byte));
  pio.register("debug console", Port.debugConsole, console);
  pio.register("debug console", Port.debugConsoleOvmf, console);
  pio.register("debug exit", Port.debugExit, new DebugExit((status) => exits.push(status)));
  return { out, exits, pio };
}

test("the debug exit's status is value << 1 | 1, cut to the eight bits of a process's status", () => {
  const cases = [
    [0, 1],
    [1, 3],
    [0x10, 33],
    [0x7f, 255],
    [0x80, 1],
    [0xffff_ffff, 255],
  ] as const;
  for (const [value, status] of cases) assert.equal(debugExitStatus(value), status);
  const { pio, exits } = machine();
  pio.write(0xf4, 1, 0x10);
  pio.write(0xf4, 2, 0x11);
  pio.write(0xf4, 4, 0x12);
  assert.deepEqual(exits, [33, 35, 37]);
  assert.equal(pio.read(0xf4, 4), 0);
});

test("the debug console is at both ports, takes every width and says that it is there", () => {
  const { pio, out } = machine();
  pio.write(0xe9, 1, 0x41);
  pio.write(0x402, 1, 0x42);
  assert.deepEqual(out, [0x41, 0x42]);
  assert.deepEqual([pio.read(0xe9, 1), pio.read(0x402, 1)], [0xe9, 0xe9]);
});

test("accesses of any width and order give bytes and odd statuses, and never throw", () => {
  const random = new SeededRandom(testSeed());
  const { pio, out, exits } = machine();
  for (let i = 0; i < 20_000; i++) {
    const port = random.pick([0xe9, 0x402, 0xf4]) + random.below(8) - 4;
    const size = random.pick([1, 2, 4] as const);
    if (random.below(2) === 0) pio.write(port, size, random.u32() >>> (32 - 8 * size));
    else assert.ok(pio.read(port, size) < 2 ** (8 * size), `seed ${random.seed}`);
  }
  assert.ok(out.every((byte) => byte >= 0 && byte <= 0xff));
  assert.ok(exits.every((status) => status % 2 === 1 && status <= 0xff));
});
