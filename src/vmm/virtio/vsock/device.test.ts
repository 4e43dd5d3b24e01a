import assert from "node:assert/strict";
import { test } from "node:test";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestKernel } from "../testing/fakes.ts";
import { TestMachine } from "../testing/machine.ts";
import { VsockQueue } from "./bits.ts";
import { VirtioVsock } from "./device.ts";

function setUp(machine = new TestMachine()) {
  const kernel = new TestKernel();
  const complaints: string[] = [];
  const log = (message: string) => complaints.push(message);
  const device = new VirtioVsock({ name: "vsock", memory: machine.memory, cid: 0x12345, kernel, log });
  const transport = machine.attach(device);
  return { machine, kernel, complaints, device, transport, driver: new TestDriver(machine, transport) };
}

test("the kernel gets the packet queues with their doorbells and interrupts", () => {
  const { machine, kernel, device, driver } = setUp();
  driver.start();
  assert.equal(machine.read(driver.device.address, 4), 0x12345);
  assert.equal(machine.read(driver.device.address + 4, 4), 0);
  assert.equal(device.kernelRuns, true);
  assert.deepEqual(
    kernel.rings?.map(({ index, kickFd, callFd }) => [index, kickFd, callFd]),
    [
      [0, 2000, 1001],
      [1, 2001, 1002],
    ],
  );
  assert.deepEqual(
    machine.doorbells.map(({ listening }) => listening),
    [false, false, true],
  );
});

test("a reset takes the queues back from the kernel, and the next driver is served again", () => {
  const { machine, kernel, device, driver } = setUp();
  driver.start();
  driver.reset();
  assert.deepEqual(
    kernel.calls.filter((call) => !call.startsWith("kick")),
    ["start", "stop"],
  );
  assert.equal(device.kernelRuns, false);
  assert.equal(machine.doorbells[0]?.listening, true);
  driver.start();
  assert.equal(device.kernelRuns, true);
});

test("a driver that the kernel cannot serve is told of in the log and harms nothing", () => {
  const { kernel, complaints, device, driver } = setUp();
  driver.start({ useMsix: false });
  assert.equal(device.kernelRuns, false);
  assert.equal(complaints.length, 1);
  driver.reset();
  kernel.accepts = false;
  driver.start();
  (driver.queues[VsockQueue.transmit] as TestQueue).run([new Uint8Array(44)]);
  assert.equal(device.kernelRuns, false);
  assert.deepEqual(kernel.calls, []);
});

test("a saved device goes on; a restored one tells its driver that the connections are gone", () => {
  const { machine, kernel, device, transport, driver } = setUp();
  driver.start();
  kernel.advanced = 5;
  const state = JSON.parse(JSON.stringify(transport.save()));
  assert.equal(state.queues[VsockQueue.transmit].nextAvailable, 5);
  assert.equal(device.kernelRuns, false);
  machine.settle();
  assert.equal(device.kernelRuns, true);
  assert.equal(kernel.rings?.[1]?.nextAvailable, 5);

  const events = driver.queues[VsockQueue.event] as TestQueue;
  events.submit([4]);
  const other = setUp(new TestMachine(machine.memory));
  other.transport.restore(state);
  other.device.connectionsLost();
  assert.equal(other.kernel.rings?.[1]?.nextAvailable, 5);
  const [event] = events.collect();
  assert.deepEqual([event?.written, ...(event?.data[0] ?? [])], [4, 0, 0, 0, 0]);
  assert.throws(() => other.transport.restore({ ...state, device: { version: 2 } }), { code: "bad_state" });
});

test("the news of lost connections waits for a buffer", () => {
  const { machine, transport, driver } = setUp();
  driver.start();
  const other = setUp(new TestMachine(machine.memory));
  other.transport.restore(transport.save());
  other.device.connectionsLost();
  const again = setUp(new TestMachine(machine.memory));
  again.transport.restore(other.transport.save());
  const events = driver.queues[VsockQueue.event] as TestQueue;
  events.submit([4]);
  again.machine.settle();
  assert.equal(events.collect().length, 1);
});
