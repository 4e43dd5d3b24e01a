import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { RESET_VALUE, ResetControl } from "../reset/reset-control.ts";
import { exerciseRegisters } from "../test-support.ts";
import { PostCodePort, SystemControlA, SystemControlPortA, SystemControlPortB } from "./legacy-ports.ts";

test("the reset register resets on RST_CPU and not before", () => {
  let resets = 0;
  const register = new ResetControl({ onReset: () => resets++ });
  register.write(0, 1, 0x02);
  assert.equal(resets, 0);
  assert.equal(register.read(0, 1), 0x02);
  register.write(0, 1, RESET_VALUE);
  assert.equal(resets, 1);
});

test("port 0x92 keeps A20 on and resets on its low bit", () => {
  let resets = 0;
  const port = new SystemControlPortA({ onReset: () => resets++ });
  port.write(0, 1, 0);
  assert.equal(port.read(0, 1), SystemControlA.A20Enabled);
  port.write(0, 1, SystemControlA.FastReset);
  assert.equal(resets, 1);
});

test("both waiting bits of port 0x61 change with every read", () => {
  const port = new SystemControlPortB();
  port.write(0, 1, 0xff);
  const first = port.read(0, 1);
  assert.equal(port.read(0, 1) ^ first, 0x30);
  assert.equal(first & 0x0f, 0x0f);
});

test("random accesses never throw, and saved ports are restored exactly", () => {
  const random = new SeededRandom(testSeed());
  exerciseRegisters(random, new SystemControlPortA({ onReset: () => {} }), 1, 2_000);
  exerciseRegisters(random, new SystemControlPortB(), 1, 2_000);
  exerciseRegisters(random, new ResetControl({ onReset: () => {} }), 1, 2_000);
  assert.equal(new PostCodePort().read(0, 1), 0xff);
});
