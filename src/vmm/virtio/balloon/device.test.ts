import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, MiB } from "../../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { ManualClock } from "../../devices/test-support.ts";
import { GuestMemory, layoutRam } from "../../memory/guest-memory.ts";
import { type Features, features } from "../device.ts";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestMachine } from "../testing/machine.ts";
import { BALLOON_PAGE_SIZE, BalloonConfig, BalloonFeature, BalloonStat, PAGES_PER_BUFFER } from "./bits.ts";
import { VirtioBalloon } from "./device.ts";

const PERIOD_MS = 1000;
const { STATS_VQ, PAGE_POISON, PAGE_REPORTING } = BalloonFeature;
const config = BalloonConfig.offset;

interface Options {
  readonly wanted?: Features;
  readonly enables?: (index: number) => boolean;
  readonly memory?: GuestMemory;
}

function setUp(options: Options = {}) {
  const machine = new TestMachine(options.memory ?? 16 * MiB);
  const clock = new ManualClock();
  const released: [number, number][] = [];
  const device = new VirtioBalloon({
    name: "balloon",
    memory: machine.memory,
    clock,
    release: (address, length) => released.push([address / BALLOON_PAGE_SIZE, length / BALLOON_PAGE_SIZE]),
    targetBytes: 3 * MiB + 5,
    reporting: true,
    statisticsMs: PERIOD_MS,
  });
  const transport = machine.attach(device);
  const driver = new TestDriver(machine, transport);
  driver.start({ wanted: features(STATS_VQ, PAGE_REPORTING), ...options });
  const queue = (index: number) => driver.queues[index] as TestQueue;
  const configField = (field: keyof typeof config) => machine.read(driver.device.address + config[field], 4);
  return { machine, clock, released, device, transport, driver, queue, configField };
}

const pages = (...numbers: number[]) => new Uint8Array(Uint32Array.from(numbers).buffer);
const statistics = (...pairs: [number, number][]) =>
  Uint8Array.from(pairs.flatMap(([tag, val]) => [...BalloonStat.encode({ tag, val })]));

test("the driver reads the target, is told of a new one, and says how far it got", () => {
  const { driver, machine, device, configField } = setUp();
  assert.equal(configField("num_pages"), 3 * 256);
  device.setTarget(5 * MiB);
  assert.equal(configField("num_pages"), 5 * 256);
  assert.equal(machine.routes[0]?.delivered, 1);
  machine.write(driver.device.address + config.actual, 4, 77);
  assert.equal(device.status.actualBytes, 77 * BALLOON_PAGE_SIZE);
  assert.equal(device.status.targetBytes, 5 * MiB);
  assert.equal(device.status.hasDriver, true);
  // Neither can be more than there is.
  device.setTarget(1 * GiB);
  machine.write(driver.device.address + config.actual, 4, 0xffff_ffff);
  assert.deepEqual([device.status.targetBytes, device.status.actualBytes], [16 * MiB, 16 * MiB]);
  // The host's field is not the driver's to write.
  machine.write(driver.device.address + config.num_pages, 4, 1);
  assert.equal(configField("num_pages"), 4096);
  driver.reset();
  assert.deepEqual([device.status.actualBytes, device.status.hasDriver], [0, false]);
  assert.equal(configField("num_pages"), 4096);
});

test("inflated pages go back to the host in ranges, whatever their order", () => {
  const { queue, released } = setUp();
  assert.equal(queue(0).run([pages(30, 12, 11, 13, 10, 12, 20)])[0]?.written, 0);
  assert.deepEqual(released, [
    [10, 4],
    [20, 1],
    [30, 1],
  ]);
  // Deflating asks nothing of the host.
  released.length = 0;
  assert.equal(queue(1).run([pages(10, 11)]).length, 1);
  assert.deepEqual(released, []);
});

test("pages outside RAM are passed over", () => {
  const memory = new GuestMemory(
    layoutRam(3 * GiB + 16 * MiB).map((region) => ({ ...region, host: 0 as never })),
    // Only the first window is touched.
    (region, offset) => new ArrayBuffer(region.start === 0 && offset === 0 ? 16 * MiB : 16),
  );
  const { queue, released } = setUp({ memory });
  const hole = (3 * GiB) / BALLOON_PAGE_SIZE;
  const high = (4 * GiB) / BALLOON_PAGE_SIZE;
  queue(0).run([pages(hole - 1, hole, hole + 5, high - 1, high, high + 4095, high + 4096, 0xffff_ffff)]);
  assert.deepEqual(released, [
    [hole - 1, 1],
    [high, 1],
    [high + 4095, 1],
  ]);
});

test("a buffer of many pages, and many buffers, are served in turns and to the end", () => {
  const { queue, released, machine } = setUp();
  const many = Array.from({ length: PAGES_PER_BUFFER }, (_, i) => 2 * (i % 1000));
  for (let i = 0; i < 4; i++) queue(0).submit([pages(...many)]);
  queue(0).ring();
  machine.settle();
  assert.equal(queue(0).collect().length, 4);
  assert.equal(released.length, 4 * 1000);
  // What goes beyond the limit is not looked at.
  released.length = 0;
  queue(0).run([pages(...many.fill(7), 9)]);
  assert.deepEqual(released, [[7, 1]]);
});

test("an odd end of a buffer is no page", () => {
  const { queue, released } = setUp();
  queue(0).run([Uint8Array.of(5, 0, 0, 0, 9, 0)]);
  assert.deepEqual(released, [[5, 1]]);
});

test("reported memory goes back in whole pages", () => {
  const { queue, released } = setUp();
  const report = queue(3);
  report.run([3 * BALLOON_PAGE_SIZE]);
  const [[first, count] = [0, 0]] = released;
  // The test driver's buffers begin anywhere.
  assert.ok(count === 2 || count === 3);
  assert.ok(first > 0);
  released.length = 0;
  report.run([100]);
  assert.deepEqual(released, []);
});

test("poisoned memory is not given back when reported, unless the poison is zero", () => {
  const { driver, machine, queue, released } = setUp({
    wanted: features(STATS_VQ, PAGE_POISON, PAGE_REPORTING),
  });
  queue(3).run([8192]);
  assert.equal(released.length, 1);
  machine.write(driver.device.address + config.poison_val, 4, 0xaaaa_aaaa);
  assert.equal(queue(3).run([8192]).length, 1);
  assert.equal(released.length, 1);
});

test("the reporting queue is found where Linux puts it and where the specification does", () => {
  for (const [index, enables, wanted] of [
    [3, (i: number) => i < 4, features(STATS_VQ, PAGE_REPORTING)],
    [4, (i: number) => i !== 3, features(STATS_VQ, PAGE_REPORTING)],
    [2, (i: number) => i < 3, features(PAGE_REPORTING)],
    [4, (i: number) => i < 2 || i === 4, features(PAGE_REPORTING)],
  ] as const) {
    const { queue, released } = setUp({ enables, wanted });
    queue(index).run([8192]);
    assert.equal(released.length, 1, `queue ${index}`);
  }
});

test("statistics are asked for at every period and shown with their age", () => {
  const { queue, clock, device } = setUp();
  const told = () => device.status.statistics;
  assert.equal(told(), undefined);
  const stats = queue(2);
  stats.submit([statistics([4, 1000], [5, 2000], [3, 2 ** 63], [99, 5])]);
  stats.ring();
  assert.deepEqual(told(), { freeBytes: 1000, totalBytes: 2000, ageMs: 0 });
  assert.equal(stats.collect().length, 0, "the buffer stays with the device");
  clock.advance(PERIOD_MS - 1);
  assert.equal(stats.collect().length, 0);
  clock.advance(1);
  assert.equal(stats.collect().length, 1);
  assert.equal(told()?.ageMs, PERIOD_MS);
  stats.submit([statistics([4, 500])]);
  stats.ring();
  assert.deepEqual(told(), { freeBytes: 500, ageMs: 0 });
  // A driver that gives two buffers gets the older one back.
  stats.submit([statistics([4, 501])]);
  stats.ring();
  assert.equal(stats.collect().length, 1);
  assert.equal(told()?.freeBytes, 501);
});

test("after a reset nothing is polled and nothing is known", () => {
  const { queue, clock, device, driver } = setUp();
  queue(2).submit([statistics([4, 1000])]);
  queue(2).ring();
  driver.reset();
  assert.equal(device.status.statistics, undefined);
  assert.equal(clock.pending, 0);
});

test("saved and restored, a balloon goes on: target, size, held buffer, poll", () => {
  const { queue, clock, device, transport, machine, driver } = setUp();
  queue(2).submit([statistics([4, 1000])]);
  queue(2).ring();
  machine.write(driver.device.address + config.actual, 4, 5);
  clock.advance(400);
  const state = JSON.parse(JSON.stringify(transport.save()));
  driver.reset();
  transport.restore(state);
  assert.deepEqual(transport.save(), state);
  assert.equal(device.status.actualBytes, 5 * BALLOON_PAGE_SIZE);
  assert.deepEqual(device.status.statistics, { freeBytes: 1000, ageMs: 400 });
  clock.advance(599);
  assert.equal(queue(2).collect().length, 0);
  clock.advance(1);
  assert.equal(queue(2).collect().length, 1);
  const { device: own } = state as { device: object };
  assert.throws(() => device.restore({ ...own, version: 9 } as never), { code: "bad_state" });
});

test("any page numbers give each page of RAM among them back once, in ascending ranges", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const { queue, released } = setUp();
  const ramPages = (16 * MiB) / BALLOON_PAGE_SIZE;
  for (let round = 0; round < 50; round++) {
    const numbers = Array.from({ length: 1 + random.below(1000) }, () =>
      random.below(10) === 0 ? random.u32() : random.below(ramPages + 500),
    );
    released.length = 0;
    queue(0).run([pages(...numbers)]);
    const expected = [...new Set(numbers.filter((n) => n < ramPages))].sort((a, b) => a - b);
    const got = released.flatMap(([first, count]) => Array.from({ length: count }, (_, i) => first + i));
    assert.deepEqual(got, expected, `seed ${seed}, round ${round}`);
    released.forEach(([first], i) => {
      const [before, count] = released[i - 1] ?? [-2, 0];
      assert.ok(first > before + count, `seed ${seed}, round ${round}: ranges that touch`);
    });
  }
});
