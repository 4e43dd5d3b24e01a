import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, MiB } from "../../../base/addresses.ts";
import { DeviceStatus, Feature } from "../bits.ts";
import { features } from "../device.ts";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestMachine } from "../testing/machine.ts";
import { RamDisk } from "../testing/ram-disk.ts";
import {
  BLK_RANGE_UNMAP,
  BlkConfig,
  BlkFeature,
  BlkRange,
  BlkRequestHeader,
  BlkRequestType,
  BlkStatus,
  SECTOR_SIZE,
} from "./bits.ts";
import { LITERALS, VirtioBlk } from "./device.ts";

const CAPACITY = 4 * MiB;

function setUp(
  options: {
    readOnly?: boolean;
    wanted?: ReturnType<typeof features>;
    queueSize?: number;
    queues?: number;
    blockSizeBytes?: number;
    onError?: (errno: number, isFlush: boolean) => boolean;
  } = {},
) {
  const machine = new TestMachine();
  const disk = new RamDisk(machine.memory, CAPACITY);
  disk.readOnly = options.readOnly ?? false;
  if (options.blockSizeBytes !== undefined) disk.blockSizeBytes = options.blockSizeBytes;
  const device = new VirtioBlk({
    name: "blk",
    memory: machine.memory,
    backend: disk,
    serial: "thimble-0",
    ...(options.queues === undefined ? {} : { queues: options.queues }),
    ...(options.onError === undefined ? {} : { onError: options.onError }),
  });
  const transport = machine.attach(device);
  const driver = new TestDriver(machine, transport);
  const start = () =>
    driver.start({
      ...(options.wanted ? { wanted: options.wanted } : {}),
      ...(options.queueSize ? { queueSize: options.queueSize } : {}),
    });
  start();
  return { machine, disk, device, transport, driver, start, queue: () => driver.queues[0] as TestQueue };
}

function header(type: number, sector = 0): Uint8Array {
  return BlkRequestHeader.encode({ type, sector });
}

function statusOf(data: readonly Uint8Array[]): number | undefined {
  return data.at(-1)?.at(-1);
}

test("the literals are those of the specification", () => {
  assert.deepEqual(LITERALS, {
    HEADER_SIZE: BlkRequestHeader.size,
    SECTOR_SIZE,
    STATUS_OK: BlkStatus.OK,
    TYPE_OUT: BlkRequestType.OUT,
    WINDOW_SIZE: GiB,
  });
  assert.equal(BlkRequestType.IN, 0);
});

test("writes and reads back, over segments, direct and indirect", () => {
  const { queue, disk } = setUp();
  const pattern = Uint8Array.from({ length: 4096 }, (_, i) => i * 7);
  for (const indirect of [false, true]) {
    disk.data.fill(0);
    const chain = [header(BlkRequestType.OUT, 3), pattern.subarray(0, 1000), pattern.subarray(1000), 1];
    const [wrote] = queue().run(chain, indirect);
    assert.equal(statusOf(wrote?.data ?? []), BlkStatus.OK);
    assert.equal(wrote?.written, 1);
    assert.deepEqual(disk.data.subarray(3 * 512, 3 * 512 + 4096), pattern);
    const [read] = queue().run([header(BlkRequestType.IN, 3), 512, 3584, 1], indirect);
    assert.equal(read?.written, 4097);
    assert.deepEqual(read?.data[0], pattern.subarray(0, 512));
    assert.deepEqual(read?.data[1], pattern.subarray(512));
  }
});

test("data may share descriptors with the header and the status byte", () => {
  const { queue, disk } = setUp();
  const joined = new Uint8Array(16 + 512).fill(9);
  joined.set(header(BlkRequestType.OUT, 1));
  assert.equal(statusOf(queue().run([joined, 1])[0]?.data ?? []), BlkStatus.OK);
  assert.equal(disk.data[512], 9);
  const h = header(BlkRequestType.IN, 1);
  const [read] = queue().run([h.subarray(0, 5), h.subarray(5), 513]);
  assert.equal(read?.data[0]?.[511], 9);
  assert.equal(statusOf(read?.data ?? []), BlkStatus.OK);
});

test("requests outside the disk, not of whole sectors, or of unknown kind get an error and nothing else", () => {
  const { queue, disk, driver } = setUp();
  const last = CAPACITY / 512;
  const cases: [number, number, number, number][] = [
    [BlkRequestType.IN, last, 512, BlkStatus.IOERR],
    [BlkRequestType.IN, last - 1, 1024, BlkStatus.IOERR],
    [BlkRequestType.IN, 2 ** 52, 512, BlkStatus.IOERR],
    [BlkRequestType.IN, 0, 511, BlkStatus.IOERR],
    [14, 0, 512, BlkStatus.UNSUPP],
    [0xffff_ffff, 0, 512, BlkStatus.UNSUPP],
  ];
  for (const [type, sector, size, expected] of cases) {
    const [used] = queue().run([header(type, sector), size, 1]);
    assert.equal(statusOf(used?.data ?? []), expected, `type ${type} sector ${sector}`);
  }
  assert.deepEqual(disk.calls, []);
  assert.equal(driver.status & DeviceStatus.DEVICE_NEEDS_RESET, 0);
});

test("GET_ID gives the serial, FLUSH reaches the backend, its failure reaches the driver", () => {
  const { queue, disk } = setUp();
  const [id] = queue().run([header(BlkRequestType.GET_ID), 20, 1]);
  assert.equal(new TextDecoder().decode(id?.data[0]).replaceAll("\0", ""), "thimble-0");
  assert.equal(id?.written, 21);
  assert.equal(statusOf(queue().run([header(BlkRequestType.FLUSH), 1])[0]?.data ?? []), BlkStatus.OK);
  disk.failures = { flush: -5, read: -95 };
  assert.equal(statusOf(queue().run([header(BlkRequestType.FLUSH), 1])[0]?.data ?? []), BlkStatus.IOERR);
  assert.equal(statusOf(queue().run([header(BlkRequestType.IN), 512, 1])[0]?.data ?? []), BlkStatus.UNSUPP);
  assert.deepEqual(disk.calls, ["flush", "flush", "read 0+512"]);
});

test("DISCARD and WRITE_ZEROES carry out every range, or none", () => {
  const { queue, disk } = setUp();
  const ranges = (...list: [number, number, number][]) =>
    Buffer.concat(
      list.map(([sector, num_sectors, flags]) => BlkRange.encode({ sector, num_sectors, flags })),
    );
  const run = (type: number, data: Uint8Array) =>
    statusOf(queue().run([header(type), data, 1])[0]?.data ?? []);
  disk.data.fill(1);
  assert.equal(run(BlkRequestType.WRITE_ZEROES, ranges([0, 1, 0], [8, 8, BLK_RANGE_UNMAP])), BlkStatus.OK);
  assert.equal(run(BlkRequestType.DISCARD, ranges([16, 8, 0])), BlkStatus.OK);
  assert.deepEqual(disk.calls, ["writeZeroes 0+512", "writeZeroes 4096+4096 unmap", "discard 8192+4096"]);
  assert.equal(disk.data[511], 0);
  assert.equal(disk.data[512], 1);
  disk.calls.length = 0;
  assert.equal(run(BlkRequestType.DISCARD, ranges([0, 8, BLK_RANGE_UNMAP])), BlkStatus.UNSUPP);
  assert.equal(run(BlkRequestType.WRITE_ZEROES, ranges([0, 8, 0], [CAPACITY / 512, 1, 0])), BlkStatus.IOERR);
  assert.equal(run(BlkRequestType.WRITE_ZEROES, ranges([0, 8, 2])), BlkStatus.UNSUPP);
  assert.equal(run(BlkRequestType.WRITE_ZEROES, new Uint8Array(17)), BlkStatus.UNSUPP);
  assert.deepEqual(disk.calls, []);
});

test("a read-only disk says so and refuses every change", () => {
  const { queue, disk, driver } = setUp({ readOnly: true });
  assert.ok(driver.offered.low & (1 << BlkFeature.RO));
  for (const type of [BlkRequestType.OUT, BlkRequestType.DISCARD, BlkRequestType.WRITE_ZEROES]) {
    const [used] = queue().run([header(type), new Uint8Array(512), 1]);
    assert.equal(statusOf(used?.data ?? []), BlkStatus.IOERR);
  }
  assert.deepEqual(disk.calls, []);
});

test("write-through: a write completes after a flush", () => {
  const { queue, disk, machine, driver } = setUp();
  const write = () =>
    statusOf(queue().run([header(BlkRequestType.OUT), new Uint8Array(512), 1])[0]?.data ?? []);
  assert.equal(write(), BlkStatus.OK);
  machine.write(driver.device.address + BlkConfig.offset.writeback, 1, 0);
  assert.equal(write(), BlkStatus.OK);
  assert.deepEqual(disk.calls, ["write 0+512", "write 0+512", "flush"]);
  disk.failures = { flush: -5 };
  assert.equal(write(), BlkStatus.IOERR);
});

test("a driver that cannot flush gets write-through", () => {
  const { queue, disk } = setUp({ wanted: features(Feature.VERSION_1) });
  queue().run([header(BlkRequestType.OUT), new Uint8Array(512), 1]);
  assert.deepEqual(disk.calls, ["write 0+512", "flush"]);
});

test("many requests in flight complete in any order", () => {
  const { queue, disk, machine } = setUp();
  disk.holding = true;
  const heads: number[] = [];
  for (let i = 0; i < 40; i++) {
    disk.data[i * 512] = i;
    heads.push(queue().submit([header(BlkRequestType.IN, i), 512, 1]));
  }
  queue().ring();
  assert.equal(disk.held.length, 40);
  const seen = new Map<number, number | undefined>();
  while (disk.held.length > 0) {
    disk.complete((disk.held.length * 7) % disk.held.length);
    if (disk.held.length % 3 !== 0) continue;
    machine.settle();
    for (const used of queue().collect()) seen.set(used.head, used.data[0]?.[0]);
  }
  machine.settle();
  for (const used of queue().collect()) seen.set(used.head, used.data[0]?.[0]);
  heads.forEach((head, i) => {
    assert.equal(seen.get(head), i);
  });
});

test("queues work beside each other, and each request is answered in its own", () => {
  const { driver, disk, device, machine } = setUp({ queues: 4 });
  assert.equal(driver.queues.length, 4);
  assert.equal(machine.read(driver.device.address + BlkConfig.offset.num_queues, 2), 4);
  disk.holding = true;
  driver.queues.forEach((queue, i) => {
    disk.data[i * 512] = 10 + i;
    queue.submit([header(BlkRequestType.IN, i), 512, 1]);
    queue.ring();
  });
  assert.ok(device.busy);
  while (disk.held.length > 0) disk.complete(disk.held.length - 1);
  machine.settle();
  driver.queues.forEach((queue, i) => {
    const used = queue.collect();
    assert.equal(used.length, 1);
    assert.equal(used[0]?.data[0]?.[0], 10 + i);
  });
  assert.ok(!device.busy);
});

test("what completes later is published together, with one interrupt", () => {
  const { queue, disk, machine } = setUp();
  disk.holding = true;
  for (let i = 0; i < 10; i++) queue().submit([header(BlkRequestType.IN, i), 512, 1]);
  queue().ring();
  const before = machine.routes[1]?.delivered ?? 0;
  while (disk.held.length > 0) disk.complete();
  machine.settle();
  assert.equal(queue().collect().length, 10);
  assert.equal((machine.routes[1]?.delivered ?? 0) - before, 1);
});

test("a request that fails waits when it is asked to, with all behind it, and is done when it is tried again", () => {
  const asked: [number, boolean][] = [];
  const { queue, disk, device, machine } = setUp({
    onError: (errno, isFlush) => {
      asked.push([errno, isFlush]);
      return errno === 28;
    },
  });
  disk.failures = { write: -28 };
  queue().submit([header(BlkRequestType.OUT, 1), new Uint8Array(512).fill(7), 1]);
  queue().ring();
  assert.ok(device.isStalled && device.busy);
  queue().submit([header(BlkRequestType.IN, 1), 512, 1]);
  queue().ring();
  machine.settle();
  assert.deepEqual(queue().collect(), []);
  device.retry();
  machine.settle();
  assert.ok(device.isStalled, "it failed again");
  disk.failures = {};
  device.retry();
  machine.settle();
  const used = queue().collect();
  assert.deepEqual(
    used.map(({ data }) => statusOf(data)),
    [BlkStatus.OK, BlkStatus.OK],
  );
  assert.equal(used[1]?.data[0]?.[511], 7);
  disk.failures = { flush: -5 };
  assert.equal(statusOf(queue().run([header(BlkRequestType.FLUSH), 1])[0]?.data ?? []), BlkStatus.IOERR);
  assert.deepEqual(asked, [
    [28, false],
    [28, false],
    [5, true],
  ]);
});

test("a reset forgets what has stalled", () => {
  const { queue, disk, device, machine, start } = setUp({ onError: () => true });
  disk.failures = { write: -28 };
  queue().submit([header(BlkRequestType.OUT, 1), new Uint8Array(512), 1]);
  queue().ring();
  start();
  assert.ok(!device.isStalled && !device.busy);
  disk.failures = {};
  device.retry();
  machine.settle();
  assert.deepEqual(queue().collect(), []);
  assert.equal(statusOf(queue().run([header(BlkRequestType.IN), 512, 1])[0]?.data ?? []), BlkStatus.OK);
});

test("a disk of larger blocks says so, and takes whole ones only", () => {
  const { queue, driver, machine } = setUp({ blockSizeBytes: 4096 });
  assert.equal(machine.read(driver.device.address + BlkConfig.offset.blk_size, 4), 4096);
  assert.equal(statusOf(queue().run([header(BlkRequestType.IN), 512, 1])[0]?.data ?? []), BlkStatus.IOERR);
  assert.equal(statusOf(queue().run([header(BlkRequestType.IN), 4096, 1])[0]?.data ?? []), BlkStatus.OK);
});

test("reset drops what is in flight, is done only when the backend is, and the device works again", () => {
  const { queue, disk, driver, device, start } = setUp();
  disk.holding = true;
  queue().submit([header(BlkRequestType.IN), 512, 1]);
  queue().submit([header(BlkRequestType.OUT), new Uint8Array(512), 1]);
  queue().ring();
  const old = queue();
  driver.reset();
  assert.ok(device.busy);
  assert.notEqual(driver.status, 0, "the reset is not done while the backend may write to memory");
  disk.complete(1);
  assert.notEqual(driver.status, 0);
  disk.complete();
  assert.equal(driver.status, 0);
  assert.deepEqual(old.collect(), []);
  disk.holding = false;
  start();
  assert.equal(statusOf(queue().run([header(BlkRequestType.IN), 512, 1])[0]?.data ?? []), BlkStatus.OK);
});

test("a driver that does not wait for its reset neither harms nor is harmed by old requests", () => {
  const { queue, disk, machine, start } = setUp();
  disk.holding = true;
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 60; i++) queue().submit([header(BlkRequestType.IN), 512, 1]);
    queue().ring();
    start();
  }
  assert.ok(disk.held.length <= 512, `${disk.held.length} requests piled up`);
  queue().submit([header(BlkRequestType.FLUSH), 1]);
  queue().ring();
  while (disk.held.length > 0) {
    while (disk.held.length > 0) disk.complete();
    machine.settle();
  }
  assert.equal(queue().collect().length, 1);
});

test("a chain without header or status byte stops the device until it is reset", () => {
  for (const chain of [[header(BlkRequestType.FLUSH)], [new Uint8Array(15), 1], [512]]) {
    const { queue, driver, machine, start } = setUp();
    queue().run(chain);
    assert.ok(driver.status & DeviceStatus.DEVICE_NEEDS_RESET);
    assert.equal(machine.routes[0]?.delivered, 1, "a configuration change interrupt tells the driver");
    assert.equal(machine.log.length, 1);
    start();
    assert.equal(statusOf(queue().run([header(BlkRequestType.IN), 512, 1])[0]?.data ?? []), BlkStatus.OK);
  }
});

test("a device saved with a running driver goes on in another machine", () => {
  const one = setUp();
  one.queue().run([header(BlkRequestType.OUT, 1), new Uint8Array(512).fill(5), 1]);
  one.machine.write(one.driver.device.address + BlkConfig.offset.writeback, 1, 0);
  const state = JSON.parse(JSON.stringify(one.transport.save()));
  const machine = new TestMachine(one.machine.memory);
  const device = new VirtioBlk({ name: "blk", memory: machine.memory, backend: one.disk });
  const transport = machine.attach(device);
  transport.restore(state);
  machine.settle();
  one.queue().submit([header(BlkRequestType.OUT, 2), new Uint8Array(512).fill(6), 1]);
  const doorbell = machine.doorbells[0];
  assert.equal(doorbell?.address, one.machine.doorbells[0]?.address);
  doorbell?.onRing();
  assert.equal(statusOf(one.queue().collect()[0]?.data ?? []), BlkStatus.OK);
  assert.deepEqual(one.disk.calls.slice(-2), ["write 1024+512", "flush"]);
  assert.equal(machine.routes[1]?.delivered, 1);
});

test("a saved state with requests in flight is refused", () => {
  const { queue, disk, transport } = setUp();
  disk.holding = true;
  queue().run([header(BlkRequestType.IN), 512, 1]);
  assert.throws(() => transport.save(), /requests in flight/);
  disk.complete();
  transport.save();
});

test("a vCPU may ring, reset and start the queue anew while the backend waits in the kernel", () => {
  const { queue, disk, driver, start } = setUp();
  const read = disk.read.bind(disk);
  const meanwhile: (() => void)[] = [];
  disk.read = (offset, segments, done) => {
    read(offset, segments, (result) => {
      meanwhile.shift()?.();
      done(result);
    });
  };
  const request = [header(BlkRequestType.IN), 512, 1];

  meanwhile.push(() => {
    queue().submit(request);
    queue().ring();
  });
  assert.equal(queue().run(request).length, 2, "the chain added meanwhile is served by the call at work");

  let busy = 0;
  meanwhile.push(() => {
    driver.reset();
    busy = driver.status;
    start();
    queue().submit(request);
    queue().ring();
  });
  const old = queue();
  old.submit(request);
  old.ring();
  assert.notEqual(busy, 0, "a reset waits for the request in the kernel");
  assert.deepEqual(
    queue()
      .collect()
      .map(({ written }) => written),
    [513],
    "only the new driver's request is answered",
  );
  assert.equal(queue().run(request).length, 1);
});
