import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, type GuestPhysical, guestPhysical, hostVirtual, MiB } from "../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { GuestMemory, layoutRam } from "../memory/guest-memory.ts";
import {
  AvailableHeader,
  Descriptor,
  DescriptorFlag,
  USED_NO_NOTIFY,
  UsedElement,
  UsedHeader,
} from "./bits.ts";
import { LITERALS, QUEUE_EMPTY, VirtQueue } from "./queue.ts";
import type { QueueLayout } from "./queue-layout.ts";
import { gather } from "./segments.ts";
import { TestQueue } from "./testing/driver.ts";

const { NEXT, WRITE, INDIRECT } = DescriptorFlag;

/** Memory of 5 GiB whose windows are only as real as the parts that tests use: buffers are made on first touch. */
function setUp(
  options: { layout?: QueueLayout; memory?: GuestMemory; eventIndex?: boolean; maxSize?: number } = {},
) {
  const memory = options.memory ?? GuestMemory.forTest(16 * MiB);
  const layout = options.layout ?? {
    size: 8,
    descriptorTable: 0x10000,
    availableRing: 0x11000,
    usedRing: 0x12000,
  };
  const failures: string[] = [];
  let interrupts = 0;
  const queue = new VirtQueue(
    0,
    options.maxSize ?? 16,
    memory,
    () => interrupts++,
    (reason) => failures.push(reason),
  );
  assert.equal(queue.start(layout, { eventIndex: options.eventIndex ?? false, indirect: true }), null);
  const driver = new TestQueue(
    memory,
    layout.size,
    layout.descriptorTable,
    layout.availableRing,
    layout.usedRing,
    { start: MiB, end: 2 * MiB },
    () => {},
  );
  return { memory, queue, driver, failures, layout, interrupts: () => interrupts };
}

test("the literals are those of the specification", () => {
  assert.deepEqual(LITERALS, {
    FLAG_NEXT: NEXT,
    FLAG_WRITE: WRITE,
    FLAG_INDIRECT: INDIRECT,
    DESCRIPTOR_SIZE: Descriptor.size,
    DESCRIPTOR_SHIFT: Math.log2(Descriptor.size),
    INDEX_WORD: AvailableHeader.offset.index / 2,
    RING_WORDS: AvailableHeader.size / 2,
    USED_RING_DWORDS: UsedHeader.size / 4,
    WINDOW_SIZE: GiB,
  });
  assert.equal(UsedElement.size, 8);
});

test("chains come in order, split into what the device reads and writes", () => {
  const { queue, driver, memory } = setUp();
  driver.submit([Uint8Array.of(1, 2), Uint8Array.of(3), 100, 28]);
  driver.submit([Uint8Array.of(4)]);
  const first = queue.pop();
  assert.equal(queue.readable.count, 2);
  assert.equal(queue.writable.count, 2);
  assert.equal(queue.readableBytes, 3);
  assert.equal(queue.writableBytes, 128);
  const bytes = new Uint8Array(3);
  gather(memory, queue.readable, 0, bytes);
  assert.deepEqual([...bytes], [1, 2, 3]);
  const second = queue.pop();
  assert.equal(queue.readableBytes, 1);
  assert.equal(queue.pop(), QUEUE_EMPTY);
  queue.push(second, 0);
  queue.push(first, 128);
  assert.deepEqual(driver.collect(), [], "nothing is seen before flush");
  queue.flush();
  assert.deepEqual(
    driver.collect().map(({ head, written }) => [head, written]),
    [
      [second, 0],
      [first, 128],
    ],
  );
});

test("unpop gives chains again", () => {
  const { queue, driver } = setUp();
  const heads = [driver.submit([1]), driver.submit([2]), driver.submit([3])];
  assert.deepEqual([queue.pop(), queue.pop(), queue.pop()], heads);
  queue.unpop(2);
  assert.equal(queue.waiting, 2);
  assert.equal(queue.pop(), heads[1]);
});

test("a chain read once more is the same, or stops the queue when the driver has broken it meanwhile", () => {
  const { queue, driver, memory, layout, failures } = setUp();
  driver.submit([Uint8Array.of(1), 10]);
  driver.submit([20]);
  const head = queue.pop();
  assert.equal(queue.again(head), true);
  assert.equal(queue.writable.length[0], 10);
  assert.equal(queue.waiting, 1, "what comes next stays");
  Descriptor.patch(memory.view(layout.descriptorTable, 256) as Uint8Array, head * Descriptor.size, {
    length: 0,
  });
  assert.equal(queue.again(head), false);
  assert.deepEqual(failures, ["queue 0: the driver gave an empty buffer"]);
  queue.stop(); // as the transport does
  assert.equal(queue.again(head), false);
  assert.deepEqual([queue.save().nextAvailable, queue.waiting, queue.pop()], [0, 0, QUEUE_EMPTY]);
});

test("indices wrap at 65536", () => {
  const { queue, driver } = setUp({ eventIndex: true });
  for (let i = 0; i < 70000; i++) {
    driver.submit([1], i % 3 === 0);
    const head = queue.pop();
    assert.ok(head >= 0);
    queue.push(head, 1);
    if (i % 5 === 0) {
      queue.flush();
      driver.collect();
    }
  }
});

test("interrupts: without event indices as the flag says, with them for the element asked for", () => {
  const plain = setUp();
  plain.driver.submit([1]);
  plain.queue.push(plain.queue.pop(), 1);
  plain.queue.flush();
  plain.queue.flush();
  assert.equal(plain.interrupts(), 1, "one flush with news, one interrupt");
  plain.memory.write(plain.layout.availableRing, Uint8Array.of(1));
  plain.driver.submit([1]);
  plain.queue.push(plain.queue.pop(), 1);
  plain.queue.flush();
  assert.equal(plain.interrupts(), 1);

  const event = setUp({ eventIndex: true });
  const one = () => {
    event.driver.submit([1]);
    event.queue.push(event.queue.pop(), 1);
    event.queue.flush();
  };
  one();
  assert.equal(event.interrupts(), 1);
  one();
  assert.equal(event.interrupts(), 1, "used_event still names the first");
  event.driver.collect();
  one();
  assert.equal(event.interrupts(), 2);
});

test("notifications: suppressed while the device looks, wanted from the next chain on afterwards", () => {
  const plain = setUp();
  plain.queue.suppressNotifications();
  assert.equal(plain.driver.usedFlags, USED_NO_NOTIFY);
  assert.equal(plain.queue.resumeNotifications(), false);
  assert.equal(plain.driver.usedFlags, 0);
  plain.driver.submit([1]);
  assert.equal(plain.queue.resumeNotifications(), true, "a chain that arrived meanwhile is reported");

  const event = setUp({ eventIndex: true });
  event.driver.submit([1]);
  event.queue.pop();
  assert.equal(event.queue.resumeNotifications(), false);
  assert.equal(event.driver.availEvent, 1);
});

test("rings that are misaligned, outside RAM or of a wrong size are refused", () => {
  const memory = GuestMemory.forTest(16 * MiB);
  const queue = new VirtQueue(0, 16, memory, () => {}, assert.fail);
  const good = { size: 16, descriptorTable: 0x1000, availableRing: 0x2000, usedRing: 0x3000 };
  const options = { eventIndex: false, indirect: false };
  const bad: Partial<QueueLayout>[] = [
    { size: 0 },
    { size: 12 },
    { size: 32 },
    { descriptorTable: 0x1008 },
    { availableRing: 0x2001 },
    { usedRing: 0x3002 },
    { descriptorTable: 16 * MiB - 16 },
    { availableRing: 2 ** 63 },
    { usedRing: 3 * GiB },
  ];
  for (const change of bad) {
    assert.notEqual(queue.start({ ...good, ...change }, options), null, JSON.stringify(change));
    assert.equal(queue.pop(), QUEUE_EMPTY);
    queue.push(0, 0);
    queue.flush();
  }
  assert.equal(queue.start(good, options), null);
});

test("every broken rule stops the queue and is named once", () => {
  const table = 0x10000;
  type Case = [string, RegExp, (s: ReturnType<typeof setUp>) => void];
  const offer = (s: ReturnType<typeof setUp>, flags: number, address = MiB, length = 16, next = 0) => {
    s.driver.setDescriptor(table, 0, address, length, flags, next);
    s.driver.offer(0);
  };
  const indirect = (
    s: ReturnType<typeof setUp>,
    entries: [number, number, number, number][],
    length?: number,
  ) => {
    entries.forEach(([address, size, flags, next], i) => {
      s.driver.setDescriptor(MiB, i, address, size, flags, next);
    });
    offer(s, INDIRECT, MiB, length ?? entries.length * 16);
  };
  const cases: Case[] = [
    ["head outside", /outside its table/, (s) => s.driver.offer(8)],
    ["next outside", /outside its table/, (s) => offer(s, NEXT, MiB, 16, 8)],
    ["loop", /loops/, (s) => offer(s, NEXT, MiB, 16, 0)],
    ["empty", /empty/, (s) => offer(s, 0, MiB, 0)],
    ["beyond RAM", /outside RAM/, (s) => offer(s, 0, 16 * MiB - 8, 16)],
    ["in the hole", /outside RAM/, (s) => offer(s, 0, 3 * GiB, 16)],
    ["64-bit address", /outside RAM/, (s) => offer(s, 0, 2 ** 63, 16)],
    ["all ones", /outside RAM/, (s) => offer(s, WRITE, 2 ** 64 - 2 ** 11, 0xffff_ffff)],
    ["index too far", /further ahead/, (s) => s.memory.write(0x11002, Uint8Array.of(9, 0))],
    [
      "read after write",
      /after a device-writable/,
      (s) => {
        s.driver.setDescriptor(table, 1, MiB, 16, 0, 0);
        offer(s, WRITE | NEXT, MiB, 16, 1);
      },
    ],
    ["indirect with next", /next one/, (s) => offer(s, INDIRECT | NEXT, MiB, 16, 1)],
    ["indirect odd size", /odd size/, (s) => offer(s, INDIRECT, MiB, 17)],
    ["indirect empty", /outside its table|odd size/, (s) => offer(s, INDIRECT, MiB, 0)],
    ["indirect too large", /larger/, (s) => offer(s, INDIRECT, MiB, 17 * 16)],
    ["indirect outside", /outside RAM/, (s) => offer(s, INDIRECT, 16 * MiB, 16)],
    ["nested", /nested/, (s) => indirect(s, [[MiB, 16, INDIRECT, 0]])],
    ["indirect next outside", /outside its table/, (s) => indirect(s, [[MiB, 16, NEXT, 1]])],
    ["indirect loop", /loops/, (s) => indirect(s, [[MiB, 16, NEXT, 0]])],
  ];
  for (const [name, reason, arrange] of cases) {
    const s = setUp();
    arrange(s);
    assert.equal(s.queue.pop(), QUEUE_EMPTY, name);
    assert.equal(s.queue.pop(), QUEUE_EMPTY);
    assert.equal(s.queue.running, false, name);
    assert.equal(s.failures.length, 1, name);
    assert.match(s.failures[0] as string, reason, name);
  }
});

test("4 GiB in one chain are too much", () => {
  const s = setUp({ memory: sparseMemory(5 * GiB) });
  s.driver.setDescriptor(0x10000, 0, 0, 2 * GiB, NEXT, 1);
  s.driver.setDescriptor(0x10000, 1, 0, 2 * GiB, 0, 0);
  s.driver.offer(0);
  assert.equal(s.queue.pop(), QUEUE_EMPTY);
  assert.match(s.failures[0] as string, /4 GiB/);
});

/** RAM laid out as for a large machine, with real memory only near the ends of windows 0 and 4 GiB. */
function sparseMemory(sizeBytes: number): GuestMemory {
  const regions = layoutRam(sizeBytes).map((r) => ({ ...r, host: hostVirtual(0) }));
  return new GuestMemory(regions, (_region, _offset, size) => new ArrayBuffer(size));
}

test("indirect tables may lie anywhere, misaligned too", () => {
  const { queue, driver, memory } = setUp();
  for (const table of [MiB, MiB + 4, MiB + 1, 16 * MiB - 32]) {
    driver.setDescriptor(table, 0, 0x5000, 7, NEXT, 1);
    driver.setDescriptor(table, 1, 0x6000, 9, WRITE, 0);
    driver.setDescriptor(0x10000, 0, table, 32, INDIRECT, 0);
    driver.offer(0);
    assert.equal(queue.pop(), 0, `table at ${table}`);
    assert.deepEqual([queue.readableBytes, queue.writableBytes], [7, 9]);
  }
  assert.equal(memory.contains(0x6000, 9), true);
});

test("rings and tables that cross a window work, as do buffers above 4 GiB", () => {
  // Windows of 1 GiB: two of them, and two above 4 GiB. Only touched pages become real memory.
  const memory = sparseMemory(5 * GiB);
  const size = 16;
  const layouts: QueueLayout[] = [
    { size, descriptorTable: GiB - 128, availableRing: 2 * GiB - 14, usedRing: 5 * GiB - 12 },
    { size, descriptorTable: 5 * GiB - 16, availableRing: GiB - 2, usedRing: GiB - 4 - 128 },
    { size, descriptorTable: 4 * GiB, availableRing: 4 * GiB + 0x1000, usedRing: 4 * GiB + 0x2000 },
  ];
  for (const layout of layouts) {
    for (const eventIndex of [false, true]) {
      for (const address of [layout.descriptorTable, layout.availableRing, layout.usedRing]) {
        memory.write(address, new Uint8Array(Math.min(size * 16, 256)));
      }
      const s = setUp({ memory, layout, eventIndex });
      for (let i = 0; i < 100; i++) {
        s.driver.submit([Uint8Array.of(i), 64], i % 2 === 0);
        s.queue.suppressNotifications();
        const head = s.queue.pop();
        assert.ok(head >= 0, s.failures.join());
        memory.write(s.queue.writable.address[0] as number, Uint8Array.of(i + 1));
        s.queue.push(head, i);
        s.queue.flush();
        const [used] = s.driver.collect();
        assert.equal(used?.written, i);
        assert.equal(used?.data[0]?.[0], (i + 1) & 0xff);
        assert.equal(s.queue.resumeNotifications(), false);
      }
      assert.equal(s.interrupts(), 100);
    }
  }
  const high: GuestPhysical = guestPhysical(4 * GiB + 0x10000);
  const s = setUp({ memory });
  s.driver.setDescriptor(0x10000, 0, high, 64, WRITE, 0);
  s.driver.offer(0);
  assert.equal(s.queue.pop(), 0);
  assert.equal(s.queue.writable.address[0], high);
});

test("random tables, rings and indices never throw, never loop, and give only chains inside RAM", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const memory = GuestMemory.forTest(4 * MiB);
  const low = memory.bytes[0] as Uint8Array;
  let popped = 0;
  for (let round = 0; round < 3000; round++) {
    const size = 1 << random.below(5);
    const s = setUp({
      memory,
      layout: { size, descriptorTable: 0x1000, availableRing: 0x3000, usedRing: 0x4000 },
    });
    const wild = random.below(4);
    for (let table = 0; table < 2; table++) {
      for (let i = 0; i < 16; i++) {
        const address =
          random.below(8) < wild
            ? random.pick([0, 4 * MiB - 1, 3 * GiB, 2 ** 32, 2 ** 52, 2 ** 64 - 2 ** 12, random.u32()])
            : random.pick([0x2000, random.below(4 * MiB - 4096)]);
        const length =
          random.below(8) < wild ? random.u32() : random.pick([16, 32, 64, 256, 1 + random.below(4096)]);
        const flags =
          random.below(16) < wild
            ? random.below(65536)
            : random.pick([0, NEXT, NEXT, WRITE, NEXT | WRITE, INDIRECT]);
        s.driver.setDescriptor(
          0x1000 + table * 0x1000,
          i,
          address,
          length,
          flags,
          random.below(wild > 2 ? 40 : size),
        );
      }
    }
    if (wild === 3) random.fill(low.subarray(0x3000, 0x3000 + 64));
    else
      for (let i = random.below(size + 1); i > 0; i--)
        s.driver.offer(random.below(wild > 1 ? size + 2 : size));
    const context = `seed ${seed}, round ${round}`;
    for (let i = 0; i < 40; i++) {
      const head = s.queue.pop();
      if (head < 0) break;
      popped++;
      assert.ok(head < size, context);
      for (const list of [s.queue.readable, s.queue.writable]) {
        assert.ok(list.count <= 16, context);
        for (let k = 0; k < list.count; k++) {
          assert.ok((list.length[k] as number) > 0, context);
          assert.ok(memory.contains(list.address[k] as number, list.length[k] as number), context);
        }
      }
      s.queue.push(head, 0);
      s.queue.flush();
    }
    assert.ok(s.failures.length <= 1, context);
    assert.equal(s.queue.running, s.failures.length === 0, context);
  }
  assert.ok(popped > 500, `only ${popped} chains were well-formed`);
});
