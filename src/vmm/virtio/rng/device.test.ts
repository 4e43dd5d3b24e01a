import assert from "node:assert/strict";
import { test } from "node:test";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestMachine } from "../testing/machine.ts";
import { REQUEST_BYTES_MAX } from "./bits.ts";
import { VirtioRng } from "./device.ts";

function setUp() {
  const machine = new TestMachine();
  let asked = 0;
  const source = (target: Uint8Array) => {
    asked += target.length;
    target.fill(0xa5);
  };
  const transport = machine.attach(new VirtioRng({ name: "rng", memory: machine.memory, source }));
  const driver = new TestDriver(machine, transport);
  driver.start();
  return { queue: driver.queues[0] as TestQueue, machine, asked: () => asked };
}

test("buffers are filled and the driver is interrupted", () => {
  const { queue, machine } = setUp();
  const [used] = queue.run([64, 5]);
  assert.equal(used?.written, 69);
  assert.ok(used?.data.every((part) => part.every((byte) => byte === 0xa5)));
  assert.equal(machine.routes[1]?.delivered, 1);
});

test("one request gets a bounded number of bytes, one without room gets none", () => {
  const { queue, asked } = setUp();
  assert.equal(queue.run([REQUEST_BYTES_MAX, 100])[0]?.written, REQUEST_BYTES_MAX);
  assert.equal(asked(), REQUEST_BYTES_MAX);
  assert.equal(queue.run([new Uint8Array(16)])[0]?.written, 0);
});
