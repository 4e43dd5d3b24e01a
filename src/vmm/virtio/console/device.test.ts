import assert from "node:assert/strict";
import { test } from "node:test";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestTerminal } from "../testing/fakes.ts";
import { TestMachine } from "../testing/machine.ts";
import { ConsoleConfig, ConsoleQueue } from "./bits.ts";
import { VirtioConsole } from "./device.ts";

function setUp() {
  const machine = new TestMachine();
  const terminal = new TestTerminal();
  const device = new VirtioConsole({ name: "console", memory: machine.memory, backend: terminal });
  const driver = new TestDriver(machine, machine.attach(device));
  const start = () => {
    driver.start();
    return {
      receive: driver.queues[ConsoleQueue.receive] as TestQueue,
      transmit: driver.queues[ConsoleQueue.transmit] as TestQueue,
    };
  };
  return { machine, terminal, device, driver, start };
}

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const textOf = (used: ReturnType<TestQueue["collect"]>) =>
  used.map((u) => String.fromCharCode(...Buffer.concat(u.data).subarray(0, u.written))).join("|");

test("output reaches the terminal in order", () => {
  const { terminal, start } = setUp();
  const { transmit } = start();
  transmit.submit([ascii("hel"), ascii("lo ")]);
  transmit.submit([ascii("world")]);
  transmit.ring();
  assert.equal(terminal.output, "hello world");
  assert.equal(transmit.collect().length, 2);
});

test("input goes as far as the driver has buffers, the rest waits for the next ones", () => {
  const { terminal, start } = setUp();
  const { receive } = start();
  receive.submit([4]);
  receive.submit([2, 2]);
  receive.ring();
  terminal.type("abcdefghijk");
  assert.equal(textOf(receive.collect()), "abcd|efgh");
  assert.equal(terminal.pending, 3);
  receive.submit([16]);
  receive.ring();
  assert.equal(textOf(receive.collect()), "ijk");
  terminal.type("later");
  receive.submit([16]);
  receive.ring();
  assert.equal(textOf(receive.collect()), "later");
});

test("input without a driver is lost, not kept for a later one", () => {
  const { terminal, start } = setUp();
  terminal.type("nobody");
  assert.equal(terminal.pending, 0);
  const { receive } = start();
  receive.submit([16]);
  receive.ring();
  terminal.type("x");
  assert.equal(textOf(receive.collect()), "x");
});

test("input after the driver broke a rule is lost, not kept for the driver that starts over", () => {
  const { terminal, start } = setUp();
  const { receive } = start();
  receive.offer(0xffff);
  terminal.type("nobody");
  terminal.type("nobody again");
  assert.equal(terminal.pending, 0);
});

test("a new terminal size is seen by the driver with an interrupt and a new generation", () => {
  const { machine, device, driver, start } = setUp();
  start();
  const generation = driver.read("config_generation", 1);
  device.resize(132, 50);
  assert.equal(machine.read(driver.device.address + ConsoleConfig.offset.cols, 2), 132);
  assert.equal(machine.read(driver.device.address + ConsoleConfig.offset.rows, 2), 50);
  assert.notEqual(driver.read("config_generation", 1), generation);
  assert.equal(machine.routes[0]?.delivered, 1);
});
