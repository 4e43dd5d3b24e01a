import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { DeviceStatus, Feature } from "../bits.ts";
import { type Features, features, type KernelRing } from "../device.ts";
import type { KernelBackend } from "../kernel-backend.ts";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestTap } from "../testing/fakes.ts";
import { TestMachine } from "../testing/machine.ts";
import { CtrlAck, CtrlClass, CtrlMac, NetFeature, NetHeader, NetQueue, TunOffload } from "./bits.ts";
import { parseMac, VirtioNet } from "./device.ts";
import { LITERALS } from "./pair.ts";

const MAC = parseMac("52:54:00:12:34:56");
const PLAIN = features(Feature.VERSION_1, Feature.RING_INDIRECT_DESC, NetFeature.MAC, NetFeature.CTRL_VQ);
const MERGEABLE = features(Feature.VERSION_1, NetFeature.MRG_RXBUF);

/** One pair; several are for `setUpPairs`. */
function setUp(wanted?: Features, kernel?: KernelBackend, useMsix = true) {
  const machine = new TestMachine();
  const tap = new TestTap(machine.memory);
  const device = new VirtioNet({
    name: "net",
    memory: machine.memory,
    pairs: [{ backend: tap, ...(kernel ? { kernel } : {}) }],
    mac: MAC,
  });
  const transport = machine.attach(device);
  const driver = new TestDriver(machine, transport);
  driver.start({ useMsix, ...(wanted ? { wanted } : {}) });
  const queue = (index: number) => driver.queues[index] as TestQueue;
  return {
    machine,
    tap,
    device,
    transport,
    driver,
    queue,
    rx: queue(NetQueue.receive),
    tx: queue(NetQueue.transmit),
  };
}

/** The frames in what came back: chains joined as num_buffers says. */
function framesOf(used: ReturnType<TestQueue["collect"]>): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let i = 0; i < used.length; ) {
    const first = Buffer.concat(used[i]?.data ?? []).subarray(0, used[i]?.written);
    const count = (first[10] as number) | ((first[11] as number) << 8);
    const parts = used.slice(i, i + count).map((u) => Buffer.concat(u.data).subarray(0, u.written));
    const frame = new Uint8Array(Buffer.concat(parts));
    frame.fill(0, 10, 12);
    frames.push(frame);
    i += count;
  }
  return frames;
}

test("frames are sent as they are, header and all", () => {
  const { tap, tx } = setUp();
  const header = new Uint8Array(12).fill(1);
  const frame = Uint8Array.from({ length: 1500 }, (_, i) => i);
  assert.equal(tx.run([header, frame.subarray(0, 14), frame.subarray(14)], true).length, 1);
  tx.run([Uint8Array.from([...header, ...frame])]);
  const expected = Uint8Array.from([...header, ...frame]);
  assert.deepEqual(tap.sent, [expected, expected]);
  tx.run([new Uint8Array(12)]);
  assert.equal(tap.sent.length, 2, "a header without a frame is not a frame");
});

test("frames received fill one buffer each, without mergeable buffers", () => {
  const { tap, rx } = setUp(PLAIN);
  for (let i = 0; i < 4; i++) rx.submit([12, 1518], i % 2 === 0);
  rx.ring();
  const frames = [tap.arrive(60, 1), tap.arrive(1514, 2)];
  assert.deepEqual(framesOf(rx.collect()), frames);
});

test("frames wait in the tap until the driver offers buffers", () => {
  const { tap, rx } = setUp(PLAIN);
  rx.submit([1530]);
  rx.ring();
  const frames = [tap.arrive(60, 1), tap.arrive(61, 2), tap.arrive(62, 3)];
  assert.deepEqual(framesOf(rx.collect()), frames.slice(0, 1));
  assert.equal(tap.callback, null, "a tap that is full costs nothing");
  for (let i = 0; i < 3; i++) rx.submit([1530]);
  rx.ring();
  assert.deepEqual(framesOf(rx.collect()), frames.slice(1));
  assert.notEqual(tap.callback, null);
});

test("mergeable buffers: a frame spreads over as many as it needs, whatever their sizes", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const { tap, rx, driver } = setUp();
  const expected: Uint8Array[] = [];
  const got: Uint8Array[] = [];
  const pending: ReturnType<TestQueue["collect"]> = [];
  let posted = 0;
  for (let round = 0; round < 400; round++) {
    pending.push(...rx.collect());
    posted -= pending.length;
    got.push(...framesOf(pending.splice(0)));
    while (posted < 60) {
      const size = random.pick([1536, 4096, 1024 + random.below(4096)]);
      const cut = random.pick([size, 7, 12, 20]);
      rx.submit(cut === size ? [size] : [cut, size - cut], true);
      posted++;
    }
    rx.ring();
    if (tap.waiting.length < 4)
      expected.push(tap.arrive(random.pick([14, 60, 1514, 9000, random.below(65000)]), round));
  }
  pending.push(...rx.collect());
  got.push(...framesOf(pending));
  assert.equal(driver.status & DeviceStatus.DEVICE_NEEDS_RESET, 0);
  assert.ok(got.length > 300, `seed ${seed}: ${got.length} frames`);
  got.forEach((frame, i) => {
    assert.deepEqual(frame, expected[i], `seed ${seed}, frame ${i}`);
  });
});

test("a driver with fewer buffers than the longest frame needs still receives", () => {
  const { tap, rx } = setUp();
  for (let i = 0; i < 8; i++) rx.submit([1536]);
  rx.ring();
  for (let i = 0; i < 50; i++) {
    const frame = tap.arrive(1000, i);
    assert.deepEqual(framesOf(rx.collect()), [frame]);
    rx.submit([1536]);
    rx.ring();
  }
});

test("a frame longer than all buffers together is lost, and those after it are not", () => {
  const { tap, rx } = setUp();
  for (let i = 0; i < 8; i++) rx.submit([1536]);
  rx.ring();
  for (let i = 0; i < 100; i++) {
    if (i % 9 === 0) {
      tap.arrive(60_000, i);
      assert.deepEqual(rx.collect(), []);
    }
    const long = i % 5 === 0;
    const frame = tap.arrive(long ? 9000 : 1000, i);
    assert.deepEqual(framesOf(rx.collect()), [frame]);
    for (let chains = long ? 6 : 1; chains > 0; chains--) rx.submit([1536]);
    rx.ring();
  }
});

test("a receive buffer too small for the header, or one the device should read, stops the device", () => {
  for (const chain of [[11], [new Uint8Array(16), 1500]]) {
    const { rx, driver } = setUp(MERGEABLE);
    rx.run(chain);
    assert.ok(driver.status & DeviceStatus.DEVICE_NEEDS_RESET);
  }
});

test("the tap is told the offloads negotiated and those switched later", () => {
  const { tap, queue, driver } = setUp();
  const all = Object.values(TunOffload).reduce((flags, flag) => flags | flag, 0);
  assert.equal(tap.offload, all);
  const set = (...bits: number[]) => {
    const data = new Uint8Array(8);
    const { low, high } = features(...bits);
    new Uint32Array(data.buffer).set([low, high]);
    return queue(NetQueue.control).run([Uint8Array.of(CtrlClass.GUEST_OFFLOADS, 0), data, 1])[0]
      ?.data[0]?.[0];
  };
  assert.equal(set(NetFeature.GUEST_CSUM), CtrlAck.OK);
  assert.equal(tap.offload, TunOffload.CSUM);
  assert.equal(set(NetFeature.GUEST_CSUM, 10), CtrlAck.ERR, "UFO was never offered");
  assert.equal(set(NetFeature.GUEST_CSUM, 63), CtrlAck.ERR);
  assert.equal(tap.offload, TunOffload.CSUM, "what is refused changes nothing");
  const { GUEST_CSUM, GUEST_TSO6, GUEST_USO4, GUEST_USO6 } = NetFeature;
  assert.equal(set(GUEST_CSUM, GUEST_TSO6, GUEST_USO4, GUEST_USO6), CtrlAck.OK);
  assert.equal(tap.offload, TunOffload.CSUM | TunOffload.TSO6 | TunOffload.USO4 | TunOffload.USO6);
  assert.equal(set(GUEST_CSUM, GUEST_USO4), CtrlAck.OK);
  assert.equal(tap.offload, TunOffload.CSUM, "the tap segments UDP over both versions of IP or none");
  driver.reset();
  assert.equal(tap.offload, 0);
  assert.equal(tap.callback, null);
});

test("buffers taken ahead survive a change of offloads", () => {
  const { tap, rx, queue } = setUp();
  for (let i = 0; i < 60; i++) rx.submit([1536]);
  rx.ring();
  const one = tap.arrive(100, 1);
  queue(NetQueue.control).run([Uint8Array.of(CtrlClass.GUEST_OFFLOADS, 0), new Uint8Array(8), 1]);
  const two = tap.arrive(200, 2);
  assert.deepEqual(framesOf(rx.collect()), [one, two]);
});

test("control commands are acknowledged, unknown ones refused", () => {
  const { queue, machine, driver } = setUp();
  const run = (...bytes: number[]) =>
    queue(NetQueue.control).run([
      Uint8Array.of(bytes[0] as number, bytes[1] as number),
      Uint8Array.from(bytes.slice(2)),
      1,
    ])[0]?.data[0]?.[0];
  assert.equal(run(CtrlClass.RX, 0, 1), CtrlAck.OK);
  assert.equal(run(CtrlClass.RX, 5, 0), CtrlAck.OK);
  assert.equal(run(CtrlClass.RX, 6, 0), CtrlAck.ERR);
  assert.equal(run(CtrlClass.MAC, CtrlMac.TABLE_SET, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0), CtrlAck.OK);
  assert.equal(run(CtrlClass.MAC, CtrlMac.TABLE_SET, 255, 255, 255, 255), CtrlAck.ERR);
  assert.equal(run(CtrlClass.MAC, CtrlMac.ADDR_SET, 2, 0, 0, 0, 0, 9), CtrlAck.OK);
  assert.equal(machine.read(driver.device.address + 5, 1), 9);
  assert.equal(run(4, 0, 2, 0), CtrlAck.ERR, "multiqueue is not offered");
  assert.equal(run(2, 0, 1, 0), CtrlAck.ERR);
});

test("features that need others are refused without them", () => {
  const { driver } = setUp();
  assert.throws(() => driver.negotiate(features(NetFeature.GUEST_TSO4)), /not accepted/);
  assert.throws(() => driver.negotiate(features(NetFeature.CTRL_RX)), /not accepted/);
});

class TestVhost implements KernelBackend {
  rings: readonly KernelRing[] | null = null;
  readonly events: string[] = [];
  accepts = true;

  supports(): boolean {
    return true;
  }

  start(rings: readonly KernelRing[]): boolean {
    if (this.accepts) this.rings = rings;
    return this.accepts;
  }

  stop(): readonly number[] {
    const positions = (this.rings ?? []).map((ring) => ring.nextAvailable);
    this.rings = null;
    return positions;
  }

  kick(queue: number): void {
    this.events.push(`kick ${queue}`);
  }

  setCallFd(queue: number, callFd: number): void {
    this.events.push(`call ${queue} ${callFd}`);
  }
}

test("with vhost-net the kernel gets rings, doorbells and interrupts, and the device stays out", () => {
  const vhost = new TestVhost();
  const { machine, tap, driver, device, rx, tx, queue } = setUp(undefined, vhost);
  assert.equal(device.kernelPairs, 1);
  assert.deepEqual(
    vhost.rings?.map(({ index, size, descriptorTable, kickFd, callFd }) => [
      index,
      size,
      descriptorTable,
      kickFd,
      callFd,
    ]),
    [
      [0, 256, rx.descriptorTable, machine.doorbells[0]?.eventFd, machine.routes[1]?.eventFd],
      [1, 256, tx.descriptorTable, machine.doorbells[1]?.eventFd, machine.routes[2]?.eventFd],
    ],
  );
  assert.equal(machine.doorbells[0]?.listening, false);
  assert.equal(machine.doorbells[2]?.listening, true, "the control queue stays here");
  vhost.events.length = 0;
  tx.run([new Uint8Array(100)]);
  assert.deepEqual(tap.sent, []);
  assert.equal(queue(NetQueue.control).run([Uint8Array.of(CtrlClass.RX, 0), Uint8Array.of(1), 1]).length, 1);
  const before = machine.routes[1]?.delivered;
  driver.enableMsix();
  assert.equal(machine.routes[1]?.delivered, before, "nothing was masked");
  driver.reset();
  assert.equal(vhost.rings, null);
  assert.equal(machine.doorbells[0]?.listening, true);
});

test("a vector masked and unmasked under vhost-net interrupts once to be sure", () => {
  const { machine, driver, transport } = setUp(undefined, new TestVhost());
  const before = machine.routes[1]?.delivered as number;
  transport.msix.table.write(16 + 12, 4, 1);
  transport.msix.table.write(16 + 12, 4, 0);
  assert.equal(machine.routes[1]?.delivered, before + 1);
  driver.reset();
});

test("without MSI-X, or when the kernel refuses, the device moves packets itself", () => {
  const refusing = new TestVhost();
  refusing.accepts = false;
  for (const s of [setUp(undefined, new TestVhost(), false), setUp(undefined, refusing)]) {
    assert.equal(s.device.kernelPairs, 0);
    assert.equal(s.machine.doorbells[1]?.listening, true);
    s.tx.run([new Uint8Array(100)]);
    assert.equal(s.tap.sent.length, 1);
  }
});

/** A device of several pairs and a driver that uses them all, or as many as it says. */
function setUpPairs(count: number, options: { kernels?: TestVhost[]; wanted?: Features } = {}) {
  const machine = new TestMachine();
  const taps = Array.from({ length: count }, () => new TestTap(machine.memory));
  const pairs = taps.map((backend, i) => ({ backend, kernel: options.kernels?.[i] ?? null }));
  for (const tap of taps.slice(1)) tap.attached = false;
  const device = new VirtioNet({ name: "net", memory: machine.memory, pairs, mac: MAC });
  const transport = machine.attach(device);
  const driver = new TestDriver(machine, transport);
  const place = (index: number) => 0x10_0000 + index * 0x8_0000;
  driver.start({ place, queueSize: 64, ...(options.wanted ? { wanted: options.wanted } : {}) });
  const queue = (index: number) => driver.queues[index] as TestQueue;
  const control = (...bytes: number[]) =>
    queue(2 * count).run([Uint8Array.from(bytes.slice(0, 2)), Uint8Array.from(bytes.slice(2)), 1])[0]
      ?.data[0]?.[0];
  const usePairs = (number: number) => control(CtrlClass.MQ, 0, number, number >> 8);
  return { machine, taps, device, transport, driver, queue, control, usePairs };
}

test("the literals are those of bits.ts", () => {
  assert.deepEqual(LITERALS, { HEADER_SIZE: NetHeader.size });
});

test("several pairs: frames pass through those that the driver has asked for", () => {
  const { taps, usePairs, queue, machine, driver } = setUpPairs(4);
  assert.equal(machine.read(driver.device.address + 8, 2), 4, "max_virtqueue_pairs");
  const attached = () => taps.map((tap) => tap.attached);
  const sentBy = () => taps.map((tap) => tap.sent.splice(0).length);
  const sendOnAll = () => {
    for (let i = 0; i < 4; i++) queue(2 * i + NetQueue.transmit).run([new Uint8Array(80)]);
    return sentBy();
  };
  assert.deepEqual(attached(), [true, false, false, false], "one at first (5.1.6.5.5)");
  assert.deepEqual(sendOnAll(), [1, 0, 0, 0]);
  assert.equal(usePairs(4), CtrlAck.OK);
  machine.settle();
  assert.deepEqual(attached(), [true, true, true, true]);
  assert.deepEqual(sentBy(), [0, 1, 1, 1], "what was offered meanwhile is not forgotten");
  assert.deepEqual(sendOnAll(), [1, 1, 1, 1]);

  for (let i = 0; i < 4; i++) {
    for (let n = 0; n < 3; n++) queue(2 * i).submit([1600]);
    queue(2 * i).ring();
    const frame = taps[i]?.arrive(100 + i, i) as Uint8Array;
    assert.deepEqual(framesOf(queue(2 * i).collect()), [frame]);
  }
  assert.equal(usePairs(2), CtrlAck.OK);
  assert.deepEqual(attached(), [true, true, false, false]);
  assert.equal(taps[3]?.callback, null, "a queue that is off is not listened to");
  assert.deepEqual(sendOnAll(), [1, 1, 0, 0]);
  driver.reset();
  assert.deepEqual(attached(), [true, false, false, false]);
});

test("a number of pairs that there is not is refused, and nothing changes", () => {
  const { taps, usePairs, control } = setUpPairs(2);
  for (const wrong of [0, 3, 255, 256, 0x8000, 65535]) assert.equal(usePairs(wrong), CtrlAck.ERR);
  assert.equal(control(CtrlClass.MQ, 0, 2), CtrlAck.ERR, "half a number");
  assert.equal(control(CtrlClass.MQ, 1, 2, 0), CtrlAck.ERR, "RSS is not offered");
  assert.equal(taps[1]?.attached, false);
});

test("without the feature there is one pair, and the third queue is the control queue", () => {
  const { taps, queue, driver } = setUpPairs(3, { wanted: PLAIN });
  const answer = (...bytes: number[]) =>
    queue(NetQueue.control).run([Uint8Array.from(bytes), 1])[0]?.data[0]?.[0];
  assert.equal(answer(CtrlClass.RX, 0, 1), CtrlAck.OK);
  assert.equal(answer(CtrlClass.MQ, 0, 2, 0), CtrlAck.ERR);
  queue(NetQueue.transmit).run([new Uint8Array(80)]);
  queue(2 * 3).run([new Uint8Array(80), 1]);
  assert.deepEqual(
    taps.map((tap) => tap.sent.length),
    [1, 0, 0],
  );
  assert.equal(driver.status & DeviceStatus.DEVICE_NEEDS_RESET, 0);
});

test("with vhost-net each pair that is on has one of its own", () => {
  const kernels = [new TestVhost(), new TestVhost(), new TestVhost()];
  const { device, usePairs, queue, machine, taps, driver } = setUpPairs(3, { kernels });
  const indices = () => kernels.map((kernel) => kernel.rings?.map(({ index }) => index));
  assert.deepEqual(indices(), [[0, 1], undefined, undefined]);
  assert.equal(usePairs(3), CtrlAck.OK);
  assert.equal(device.kernelPairs, 3);
  assert.deepEqual(indices(), [
    [0, 1],
    [2, 3],
    [4, 5],
  ]);
  assert.equal(machine.doorbells[5]?.listening, false);
  assert.equal(machine.doorbells[6]?.listening, true, "the control queue stays here");
  queue(5).submit([new Uint8Array(80)]);
  device.handleQueue(5);
  assert.equal(kernels[2]?.events.at(-1), "kick 1", "rings are numbered within the pair");
  assert.equal(usePairs(1), CtrlAck.OK);
  machine.settle();
  assert.deepEqual(indices(), [[0, 1], undefined, undefined]);
  assert.equal(machine.doorbells[5]?.listening, true);
  assert.deepEqual(
    taps.map((tap) => tap.sent.length),
    [0, 0, 0],
  );
  driver.reset();
  assert.deepEqual(indices(), [undefined, undefined, undefined]);
});

test("a pair that the kernel refuses is served here, the others are not", () => {
  const kernels = [new TestVhost(), new TestVhost()];
  (kernels[1] as TestVhost).accepts = false;
  const { device, usePairs, queue, taps } = setUpPairs(2, { kernels });
  assert.equal(usePairs(2), CtrlAck.OK);
  assert.equal(device.kernelPairs, 1);
  queue(3).run([new Uint8Array(80)]);
  assert.equal(taps[1]?.sent.length, 1);
});

test("the pairs in use are saved and restored", () => {
  const from = setUpPairs(3);
  assert.equal(from.usePairs(2), CtrlAck.OK);
  from.queue(3).run([new Uint8Array(80)]);
  for (let i = 0; i < 4; i++) from.queue(2).submit([1600]);
  from.queue(2).ring();
  const state = from.transport.save();

  const taps = Array.from({ length: 3 }, () => new TestTap(from.machine.memory));
  const pairs = taps.map((backend) => ({ backend }));
  const machine = new TestMachine(from.machine.memory);
  const transport = machine.attach(new VirtioNet({ name: "net", memory: machine.memory, pairs, mac: MAC }));
  for (const tap of taps.slice(1)) tap.attached = false;
  transport.restore(state);
  machine.settle();
  assert.deepEqual(
    taps.map((tap) => tap.attached),
    [true, true, false],
  );
  const frame = taps[1]?.arrive(200, 7) as Uint8Array;
  assert.deepEqual(framesOf(from.queue(2).collect()), [frame]);

  const { device, ...rest } = state;
  const broken = { ...rest, device: { ...(device as object), pairs: 4 } };
  assert.throws(() => transport.restore(broken), /pairs/);
});

test("hostile control commands change nothing but what they may (generated)", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const { taps, queue, driver, device, usePairs } = setUpPairs(3);
  for (let i = 0; i < 3000; i++) {
    const bytes = random.fill(new Uint8Array(random.below(40)));
    if (bytes.length > 1 && random.below(4) !== 0) {
      bytes[0] = random.pick([0, 1, 2, 3, 4, 5]);
      bytes[1] = random.below(3);
      if (bytes.length > 3 && random.below(2) === 0) bytes.set([random.below(5), 0], 2);
    }
    if (bytes.length < 2) continue; // stops the device: the next test
    const [used] = queue(6).run([bytes, 1]);
    const ack = used?.data[0]?.[0];
    assert.ok(ack === CtrlAck.OK || ack === CtrlAck.ERR, `seed ${seed}, command ${i}: ${[...bytes]}`);
    const on = taps.filter((tap) => tap.attached).length;
    assert.ok(on >= 1 && on <= 3, `seed ${seed}, command ${i}`);
    if (bytes[0] === CtrlClass.MQ && ack === CtrlAck.OK) assert.equal(on, bytes[2], `seed ${seed}`);
  }
  assert.equal(driver.status & DeviceStatus.DEVICE_NEEDS_RESET, 0);
  assert.equal(usePairs(3), CtrlAck.OK);
  queue(5).run([new Uint8Array(80)]);
  assert.equal(taps[2]?.sent.length, 1);
  assert.equal(device.kernelPairs, 0);
});

test("a control command without header or room for its answer stops the device", () => {
  for (const chain of [[Uint8Array.of(0), 1], [Uint8Array.of(0, 0, 1)]]) {
    const { queue, driver } = setUpPairs(2);
    queue(4).run(chain);
    assert.ok(driver.status & DeviceStatus.DEVICE_NEEDS_RESET);
  }
});

test("MAC addresses are six pairs of hexadecimal digits", () => {
  assert.deepEqual([...parseMac("52:54:00:aB:cd:ef")], [0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
  for (const bad of ["", "52:54:00:12:34", "52:54:00:12:34:5g", "52:54:00:12:34:56:78", "5:4:0:1:3:5"]) {
    assert.throws(() => parseMac(bad), /not a MAC address/);
  }
});
