import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { ConsoleConfig, ConsoleControl, ConsoleEvent, ConsoleQueue } from "../console/bits.ts";
import { NO_FEATURES } from "../device.ts";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestChannel } from "../testing/fakes.ts";
import { TestMachine } from "../testing/machine.ts";
import { VirtioSerial } from "./device.ts";

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const textOf = (bytes: Uint8Array) => String.fromCharCode(...bytes);

/** A device with two ports and a driver; `machine` is another one's memory for a restore. */
function setUp(machine = new TestMachine()) {
  const channels = ["org.qemu.guest_agent.0", "second"].map((name) => ({ name, backend: new TestChannel() }));
  const device = new VirtioSerial({ name: "serial", memory: machine.memory, channels });
  const transport = machine.attach(device);
  const driver = new TestDriver(machine, transport);
  const queue = (index: number) => driver.queues[index] as TestQueue;
  return {
    machine,
    device,
    transport,
    driver,
    queue,
    first: channels[0]?.backend as TestChannel,
    second: channels[1]?.backend as TestChannel,
    /** Starts the driver with `buffers` control buffers. */
    start: (buffers = 12) => {
      driver.start();
      for (let i = 0; i < buffers; i++) queue(ConsoleQueue.controlReceive).submit([64]);
      queue(ConsoleQueue.controlReceive).ring();
    },
    say: (id: number, event: number, value: number) =>
      queue(ConsoleQueue.controlTransmit).run([ConsoleControl.encode({ id, event, value })]),
    /** What the device has said since: "event id value name". */
    heard: () =>
      queue(ConsoleQueue.controlReceive)
        .collect()
        .map(({ written, data }) => {
          const bytes = data[0] as Uint8Array<ArrayBuffer>;
          const { id, event, value } = ConsoleControl.decode(bytes);
          const name = textOf(bytes.subarray(ConsoleControl.size, written));
          return [event, id, value, ...(name === "" ? [] : [name])].join(" ");
        }),
  };
}

/** Up to a first port that a program has open and a peer is connected to. */
function opened() {
  const all = setUp();
  all.start();
  all.say(0, ConsoleEvent.DEVICE_READY, 1);
  for (const id of [1, 2]) all.say(id, ConsoleEvent.PORT_READY, 1);
  all.say(1, ConsoleEvent.PORT_OPEN, 1);
  all.first.peer(true);
  all.heard();
  return all;
}

test("the driver learns of the ports, their names and who is connected", () => {
  const { machine, driver, start, say, heard, first } = setUp();
  start();
  assert.equal(machine.read(driver.device.address + ConsoleConfig.offset.max_nr_ports, 4), 3);
  say(0, ConsoleEvent.DEVICE_READY, 1);
  assert.deepEqual(heard(), ["1 1 1", "1 2 1"]);
  say(1, ConsoleEvent.PORT_READY, 1);
  assert.deepEqual(heard(), ["7 1 1 org.qemu.guest_agent.0"]);
  say(1, ConsoleEvent.PORT_OPEN, 1);
  assert.equal(first.open, true);
  first.peer(true);
  first.peer(false);
  assert.deepEqual(heard(), ["6 1 1", "6 1 0"]);
  say(1, ConsoleEvent.PORT_OPEN, 0);
  assert.equal(first.open, false);
});

test("what there is to tell waits for buffers, and does not grow", () => {
  const { start, say, heard, first, queue } = setUp();
  start(1);
  say(0, ConsoleEvent.DEVICE_READY, 1);
  say(1, ConsoleEvent.PORT_READY, 1);
  say(1, ConsoleEvent.PORT_OPEN, 1);
  for (let i = 0; i < 101; i++) first.peer(i % 2 === 0);
  assert.deepEqual(heard(), ["1 1 1"]);
  for (let i = 0; i < 8; i++) queue(ConsoleQueue.controlReceive).submit([64]);
  queue(ConsoleQueue.controlReceive).ring();
  assert.deepEqual(heard(), ["7 1 1 org.qemu.guest_agent.0", "6 1 1", "1 2 1"]);
});

test("bytes go both ways, whole and in order", () => {
  const { queue, first, second } = opened();
  queue(5).run([ascii("hel"), ascii("lo")]);
  assert.equal(first.output, "hello");
  assert.equal(second.output, "");
  queue(4).submit([4]);
  queue(4).ring();
  first.send("abcdef");
  assert.equal(textOf(queue(4).collect()[0]?.data[0] as Uint8Array), "abcd");
  assert.equal(first.pending, 2);
  queue(4).submit([4]);
  queue(4).ring();
  assert.equal(first.pending, 0);
});

test("the guest waits for a peer that takes nothing, and its last words arrive before it hangs up", () => {
  const { queue, first, say } = opened();
  first.setRoom(false);
  queue(5).submit([ascii("one")]);
  queue(5).submit([ascii("two")]);
  queue(5).ring();
  assert.equal(first.output, "");
  say(1, ConsoleEvent.PORT_OPEN, 0);
  assert.equal(first.open, true);
  first.setRoom(true);
  assert.equal(first.output, "onetwo");
  assert.equal(first.open, false);
});

test("bytes written before a close that overtakes them arrive", () => {
  const { queue, first, say } = opened();
  queue(5).submit([ascii("bye")]);
  say(1, ConsoleEvent.PORT_OPEN, 0);
  assert.equal(first.output, "bye");
});

test("a guest that opens a port again at once has lost nothing and has a new peer to wait for", () => {
  const { first, say, heard } = opened();
  first.setRoom(false);
  say(1, ConsoleEvent.PORT_OPEN, 0);
  say(1, ConsoleEvent.PORT_OPEN, 1);
  assert.equal(first.open, true);
  assert.equal(first.hasPeer, false);
  assert.deepEqual(heard(), ["6 1 0"]);
});

test("a reset closes the ports; a driver without MULTIPORT is refused", () => {
  const { driver, first } = opened();
  driver.reset();
  assert.equal(first.open, false);
  assert.throws(() => driver.negotiate(NO_FEATURES), /not accepted/);
});

test("a restored device goes on with a guest that is told its peer has gone", () => {
  const { transport, machine } = opened();
  const state = JSON.parse(JSON.stringify(transport.save()));
  const other = setUp(new TestMachine(machine.memory));
  other.transport.restore(state);
  assert.equal(other.first.open, true);
  assert.equal(other.second.open, false);
  other.machine.settle();
  assert.deepEqual(
    JSON.parse(JSON.stringify(other.transport.save().queues))[2].nextUsed,
    state.queues[2].nextUsed + 1,
  );
  other.first.peer(true);
  other.first.send("x");
  assert.equal(other.first.pending, 1);
  assert.throws(() => other.transport.restore({ ...state, device: { version: 1, ports: [] } }), {
    code: "bad_state",
  });
});

test("generated traffic arrives whole whatever the peer's pace", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const { queue, first } = opened();
  let sent = "";
  let given = "";
  let got = "";
  for (let i = 0; i < 3000; i++) {
    const text = String.fromCharCode(
      ...Array.from({ length: 1 + random.below(40) }, () => 97 + random.below(26)),
    );
    const step = random.below(4);
    if (step === 0 && sent.length - first.output.length < 200) {
      queue(5).submit([ascii(text)]);
      queue(5).ring();
      sent += text;
    } else if (step === 1 && first.pending < 500) {
      first.send(text);
      given += text;
    } else if (step === 2) {
      first.setRoom(random.below(2) === 0);
    } else if (given.length - got.length - first.pending < 600) {
      queue(4).submit([1 + random.below(60)]);
      queue(4).ring();
    }
    queue(5).collect();
    for (const { data, written } of queue(4).collect())
      got += textOf((data[0] as Uint8Array).subarray(0, written));
  }
  first.setRoom(true);
  assert.equal(first.output, sent, `seed ${seed}`);
  assert.equal(got, given.slice(0, got.length), `seed ${seed}`);
  assert.equal(got.length + first.pending, given.length, `seed ${seed}`);
  assert.ok(sent.length > 1000 && got.length > 1000);
});
