/** The virtio devices behind their PCI transport, under a driver that keeps to few rules. */
import assert from "node:assert/strict";
import { GiB, MiB } from "../../src/base/addresses.ts";
import type { SeededRandom } from "../../src/base/random.ts";
import { ECAM_FUNCTION_SIZE } from "../../src/vmm/bus/pci/bits.ts";
import { BALLOON_PAGE_SIZE, BalloonStat } from "../../src/vmm/virtio/balloon/bits.ts";
import { VirtioBalloon } from "../../src/vmm/virtio/balloon/device.ts";
import { AvailableHeader, Descriptor, DescriptorFlag } from "../../src/vmm/virtio/bits.ts";
import { BlkRange, BlkRequestHeader, BlkRequestType, BlkStatus } from "../../src/vmm/virtio/blk/bits.ts";
import { VirtioBlk } from "../../src/vmm/virtio/blk/device.ts";
import { VirtioConsole } from "../../src/vmm/virtio/console/device.ts";
import { InputEvent } from "../../src/vmm/virtio/input/bits.ts";
import { VirtioInput } from "../../src/vmm/virtio/input/device.ts";
import { type InputKind, KEYBOARD, TABLET } from "../../src/vmm/virtio/input/kinds.ts";
import { parseMac, VirtioNet } from "../../src/vmm/virtio/net/device.ts";
import { VirtioRng } from "../../src/vmm/virtio/rng/device.ts";
import { TestDriver } from "../../src/vmm/virtio/testing/driver.ts";
import { TestTap, TestTerminal } from "../../src/vmm/virtio/testing/fakes.ts";
import { TestMachine } from "../../src/vmm/virtio/testing/machine.ts";
import { RamDisk } from "../../src/vmm/virtio/testing/ram-disk.ts";
import { DISK_BYTES, MEMORY_BYTES, type Ring, type SubjectKind, type World } from "./subject.ts";
import { serialSide, vsockSide } from "./virtio-channels.ts";
import { scsiRequest, scsiSide } from "./virtio-scsi.ts";
import { BUFFERS, queueOf, type Side } from "./virtio-side.ts";

const SLOT = 1;
/** What virtio's structures in BAR 0 take at the most: common, ISR, device, notification, MSI-X table and bits. */
const BAR_BYTES = 8 * 4096;
function blkSide(world: World): Side {
  const disk = new RamDisk(world.memory, DISK_BYTES, world.disk);
  let stalls = false;
  const onError = () => {
    if (stalls) world.count("stalled");
    return stalls;
  };
  const device = new VirtioBlk({ name: "blk", memory: world.memory, backend: disk, queues: 2, onError });
  return {
    device,
    outside: (random) => {
      stalls = random.below(4) === 0;
      if (device.isStalled && random.below(2) === 0) device.retry();
      disk.holding = random.below(3) === 0;
      disk.failures = random.below(8) === 0 ? { read: -5, write: -28, flush: -5 } : {};
      while (disk.held.length > 0 && random.below(8) !== 0) disk.complete(random.below(disk.held.length));
      for (const call of disk.calls) world.count(call.split(" ")[0] as string);
      disk.calls.length = 0;
    },
    quiet: () => {
      stalls = disk.holding = false;
      disk.failures = {};
      while (disk.held.length > 0) disk.complete();
      device.retry();
    },
    works: (driver) => {
      const [used] = queueOf(driver, 0).run([BlkRequestHeader.encode({}), 512, 1]);
      assert.equal(used?.data[1]?.[0], BlkStatus.OK);
    },
  };
}

function netSide(world: World): Side {
  const taps = Array.from({ length: 2 }, () => new TestTap(world.memory));
  const first = taps[0] as TestTap;
  for (const tap of taps.slice(1)) tap.attached = false;
  return {
    device: new VirtioNet({
      name: "net",
      memory: world.memory,
      pairs: taps.map((backend) => ({ backend })),
      mac: parseMac("52:54:00:00:00:01"),
    }),
    outside: (random) => {
      for (const tap of taps) {
        const before = tap.waiting.length;
        if (!tap.attached) continue;
        if (before < 4) tap.arrive(random.below(random.pick([100, 1514, 65000])), 0);
        if (tap.waiting.length <= before) world.count("received");
        world.count("sent", tap.sent.length);
        if (tap !== first) world.count("sent by another pair", tap.sent.length);
        tap.sent.length = 0;
      }
    },
    quiet: () => {
      for (const tap of taps) tap.waiting.length = 0;
    },
    works: (driver) => {
      first.sent.length = 0;
      queueOf(driver, 1).run([new Uint8Array(80)]);
      assert.equal(first.sent.length, 1);
      queueOf(driver, 0).submit([1600]);
      queueOf(driver, 0).ring();
      first.arrive(60, 0);
      assert.equal(queueOf(driver, 0).collect().length, 1);
      const [used] = queueOf(driver, 4).run([Uint8Array.of(4, 0, 2, 0), 1]);
      assert.equal(used?.data[0]?.[0], 0, "both pairs");
      assert.ok(taps.every((tap) => tap.attached));
    },
  };
}

function rngSide(world: World): Side {
  return {
    device: new VirtioRng({
      name: "rng",
      memory: world.memory,
      source: (target) => {
        target.fill(1);
        world.count("filled");
      },
    }),
    outside: () => {},
    quiet: () => {},
    works: (driver) => assert.equal(queueOf(driver, 0).run([32])[0]?.written, 32),
  };
}

function consoleSide(world: World): Side {
  const terminal = new TestTerminal();
  const device = new VirtioConsole({ name: "console", memory: world.memory, backend: terminal });
  return {
    device,
    outside: (random) => {
      if (random.below(4) === 0) device.resize(random.below(200), random.below(200));
      const before = terminal.pending;
      if (before < 1000) terminal.type("x".repeat(random.below(300)));
      if (terminal.pending < before) world.count("typed");
      world.count("printed", terminal.output.length);
      terminal.output = "";
    },
    quiet: () => terminal.clear(),
    works: (driver) => {
      terminal.output = "";
      queueOf(driver, 1).run([Uint8Array.of(0x6f, 0x6b)]);
      assert.equal(terminal.output, "ok");
    },
  };
}

function balloonSide(world: World): Side {
  const { memory, clock } = world;
  const device = new VirtioBalloon({
    name: "balloon",
    memory,
    clock,
    release: (address, length) => {
      assert.equal((address | length) % BALLOON_PAGE_SIZE, 0);
      assert.ok(length > 0 && memory.split(address, length, (bytes) => bytes.fill(0)), "not RAM");
      world.count("released");
    },
    targetBytes: 0,
    reporting: true,
    statisticsMs: 1000,
  });
  return {
    device,
    outside: (random) => {
      device.setTarget(random.below(MEMORY_BYTES));
      clock.advance(random.below(1500));
      // Pages behind the rings, and beyond the end; or statistics.
      const numbers = Uint32Array.from({ length: 200 }, () => 512 + random.below(600));
      memory.write(BUFFERS + 4 * random.below(4000), new Uint8Array(numbers.buffer));
      if (random.below(4) === 0)
        memory.write(BUFFERS, BalloonStat.encode({ tag: random.below(20), val: random.u32() }));
      if (device.status.statistics !== undefined) world.count("told");
    },
    quiet: () => {},
    works: (driver) => {
      const releasedBefore = device.status.releasedBytes;
      queueOf(driver, 0).run([new Uint8Array(Uint32Array.of(1000, 1001).buffer)]);
      assert.equal(device.status.releasedBytes - releasedBefore, 2 * BALLOON_PAGE_SIZE);
    },
  };
}

function inputSide(world: World, kind: InputKind): Side {
  const device = new VirtioInput({ name: "input", memory: world.memory, kind });
  return {
    device,
    outside: (random) => {
      const before = device.pending;
      device.key(kind.firstKey + random.below(kind.keyCount + 5), random.below(2) === 0);
      device.pointer(random.below(32768), random.below(32768), random.below(8), random.below(3) - 1);
      if (device.running) world.count(device.pending > before ? "kept" : "delivered");
    },
    quiet: () => {},
    works: (driver) => {
      const queue = queueOf(driver, 0);
      queue.submit([InputEvent.size]);
      queue.ring();
      device.key(kind.firstKey + 1, true);
      const [used] = queue.collect();
      const event = InputEvent.decode(used?.data[0] as Uint8Array);
      assert.deepEqual(event, { type: 1, code: kind.firstKey + 1, value: 1 });
    },
  };
}

/** Adds a head to an available ring, whatever it is, by what the ring itself says. */
function offer({ memory }: World, ring: Ring, head: number): void {
  const view = memory.view(ring.availableRing, AvailableHeader.size + 2 * ring.size) as Uint8Array;
  const words = new DataView(view.buffer, view.byteOffset);
  const index = words.getUint16(AvailableHeader.offset.index, true);
  words.setUint16(AvailableHeader.size + 2 * (index % ring.size), head, true);
  words.setUint16(AvailableHeader.offset.index, index + 1, true);
}

/** A chain of up to five descriptors with a fault now and then. */
function chain(random: SeededRandom, world: World, ring: Ring): void {
  const head = random.below(ring.size);
  const length = 1 + random.below(5);
  for (let i = 0; i < length; i++) {
    const good = random.below(20) !== 0;
    const address = good
      ? BUFFERS + random.below(MiB / 2)
      : random.pick([MEMORY_BYTES - 1, 3 * GiB, 2 ** 63, random.u32()]);
    const flags =
      (i + 1 < length ? DescriptorFlag.NEXT : 0) |
      (random.below(length) <= i ? DescriptorFlag.WRITE : 0) |
      (random.below(60) === 0 ? DescriptorFlag.INDIRECT : 0);
    const descriptor = Descriptor.encode({
      addressLow: address % 2 ** 32,
      addressHigh: Math.floor(address / 2 ** 32),
      length: good ? random.pick([1, 16, 512, 1024, 1536]) : random.u32(),
      flags,
      next: (head + i + 1) % ring.size,
    });
    world.memory.write(ring.descriptorTable + ((head + i) % ring.size) * Descriptor.size, descriptor);
  }
  offer(world, ring, random.below(40) === 0 ? random.below(65536) : head);
}

/** A control command of virtio-net, most of them ones that there are. */
function command(random: SeededRandom, world: World, ring: Ring): void {
  const head = random.below(ring.size - 2);
  const pick = random.below(5);
  const bytes = random.fill(new Uint8Array(10));
  if (pick < 2) bytes.set([4, 0, 1 + random.below(3), 0]);
  else if (pick < 4)
    bytes.set([5, 0, random.below(2) === 0 ? 0x82 : 0x02, random.below(4), 0, 0, 0, 0, 0, 0]);
  world.memory.write(BUFFERS, bytes);
  const parts = [
    { address: BUFFERS, length: random.pick([4, 10, 10, 2 + random.below(9)]), flags: DescriptorFlag.NEXT },
    { address: BUFFERS + 0x8000, length: 1, flags: DescriptorFlag.WRITE },
  ];
  parts.forEach(({ address, length, flags }, i) => {
    const descriptor = Descriptor.encode({ addressLow: address, length, flags, next: head + i + 1 });
    world.memory.write(ring.descriptorTable + (head + i) * Descriptor.size, descriptor);
  });
  offer(world, ring, head);
}

/** A block request as drivers make it: header, data, status. */
function request(random: SeededRandom, world: World, ring: Ring): void {
  const head = random.below(ring.size - 3);
  const type = random.pick([...Object.values(BlkRequestType), random.below(16)]);
  const sector = random.below(DISK_BYTES / 512 + 4);
  world.memory.write(BUFFERS, BlkRequestHeader.encode({ type, sector }));
  const range = {
    sector: random.below(DISK_BYTES / 512 + 4),
    num_sectors: random.below(40),
    flags: random.pick([0, 0, 1, 2]),
  };
  world.memory.write(BUFFERS + 64, BlkRange.encode(range));
  const isRange = type === BlkRequestType.DISCARD || type === BlkRequestType.WRITE_ZEROES;
  const usual = isRange ? BlkRange.size : random.pick([512, 4096]);
  const length = random.below(8) === 0 ? random.pick([BlkRange.size, 20, 0]) : usual;
  const toDevice = isRange || type === BlkRequestType.OUT;
  const parts = [
    { address: BUFFERS, length: BlkRequestHeader.size, flags: 0 },
    {
      address: BUFFERS + 64,
      length,
      flags: toDevice ? 0 : DescriptorFlag.WRITE,
    },
    { address: BUFFERS + 0x8000, length: 1, flags: DescriptorFlag.WRITE },
  ];
  parts.forEach(({ address, length, flags }, i) => {
    const next = i < 2 ? DescriptorFlag.NEXT : 0;
    const bytes = Descriptor.encode({ addressLow: address, length, flags: flags | next, next: head + i + 1 });
    world.memory.write(ring.descriptorTable + (head + i) * Descriptor.size, bytes);
  });
  offer(world, ring, head);
}

function virtioSubject(
  makeSide: (world: World) => Side,
  covers: string | readonly string[],
  mustReach: readonly string[],
  /** Chains of the one form that the device takes, nearly always; absent: all kinds. */
  ownRequest: typeof chain | null = null,
): SubjectKind {
  return {
    covers: [
      ...[covers].flat(),
      "virtio/pci-transport.ts",
      "virtio/common-config.ts",
      "virtio/queue.ts",
      "bus/pci/msix.ts",
    ],
    actionShare: 90,
    mustReach: [...mustReach, "the driver breaks a rule"],
    build(world) {
      const machine = new TestMachine(world.memory);
      const side = makeSide(world);
      const transport = machine.attach(side.device, SLOT);
      const bar = () => transport.function.barAddress(0);
      const ringDoorbell = (index: number) => {
        const doorbell = machine.doorbells[index];
        if (doorbell?.address != null && doorbell.listening) doorbell.onRing();
      };
      const start = (random: SeededRandom) => {
        transport.reset();
        const driver = new TestDriver(machine, transport);
        const queueSize = random.pick([4, 16, 64]);
        driver.start({ queueSize, useMsix: random.below(4) !== 0, place: (i) => MiB / 4 + i * 0x4_0000 });
        world.rings = driver.queues;
      };
      const withRing = (random: SeededRandom, fill: typeof chain) => {
        if (world.rings.length === 0) return start(random);
        const index = random.below(world.rings.length);
        fill(random, world, world.rings[index] as Ring);
        if (random.below(2) === 0) ringDoorbell(index);
      };
      const settle = () => {
        machine.settle();
        world.count("the driver breaks a rule", machine.log.length);
        machine.log.length = 0;
      };
      const someChain = (random: SeededRandom) => {
        if (ownRequest === null || random.below(40) === 0) withRing(random, chain);
      };
      return {
        spaces: [
          {
            name: "BAR 0",
            sizeBytes: BAR_BYTES,
            read: (offset, size) => machine.read((bar() ?? 0) + offset, size),
            write: (offset, size, value) => machine.write((bar() ?? 0) + offset, size, value),
          },
          {
            name: "configuration space",
            sizeBytes: 512,
            read: (offset, size) => machine.pci.ecam.read(SLOT * 8 * ECAM_FUNCTION_SIZE + offset, size),
            write: (offset, size, value) =>
              machine.pci.ecam.write(SLOT * 8 * ECAM_FUNCTION_SIZE + offset, size, value),
          },
        ],
        actions: {
          // Named more than once: what comes more often.
          chain: someChain,
          chain2: ownRequest === null ? someChain : (random) => withRing(random, ownRequest),
          chain3: ownRequest === null ? someChain : (random) => withRing(random, ownRequest),
          request: (random) => withRing(random, ownRequest ?? request),
          command: (random) => {
            const last = world.rings.at(-1);
            if (last === undefined || ownRequest !== null) return;
            command(random, world, last as Ring);
            ringDoorbell(world.rings.length - 1);
          },
          outside: (random) => side.outside(random),
          settle,
          start: (random) => {
            if (random.below(10) === 0) start(random);
          },
          scribble: (random) => {
            const ring = world.rings[random.below(world.rings.length || 1)];
            if (ring === undefined || random.below(20) !== 0) return;
            const at = random.pick([ring.descriptorTable, ring.availableRing, ring.usedRing]);
            world.memory.view(at + random.below(0x80), 2)?.fill(random.below(256));
          },
          register: (random) => {
            const base = bar();
            if (base === null || random.below(10) !== 0) return;
            // The first structure is the common configuration; its first 64 bytes are the registers that exist.
            machine.write(
              base + 2 * random.below(32),
              random.pick([1, 2]),
              random.pick([0, 1, 2, 4, 15, 128]),
            );
          },
        },
        quiet: () => {
          // A restored device looks into its queues unasked; the one that is left must have done so too.
          world.rings.forEach((_, i) => {
            side.device.handleQueue(i);
          });
          side.quiet();
          settle();
        },
        reset: () => {
          side.quiet();
          settle();
          transport.reset();
          world.rings = [];
        },
        save: () => transport.save(),
        restore: (saved) => transport.restore(saved),
        works: () => {
          const honest = new TestDriver(machine, transport);
          honest.start({ place: (i) => MiB + i * 0x6_0000 });
          side.works(honest);
        },
      };
    },
  };
}

export const virtioBlk = virtioSubject(blkSide, "virtio/blk/device.ts", [
  "read",
  "write",
  "flush",
  "discard",
  "writeZeroes",
]);
export const virtioScsi = virtioSubject(
  scsiSide,
  ["virtio/scsi/device.ts", "virtio/scsi/cd-drive.ts", "virtio/scsi/target.ts"],
  ["read", "locked", "ejected"],
  (random, world, ring) => offer(world, ring, scsiRequest(random, world, ring)),
);
export const virtioNet = virtioSubject(netSide, "virtio/net/device.ts", [
  "sent",
  "received",
  "sent by another pair",
]);
export const virtioRng = virtioSubject(rngSide, "virtio/rng/device.ts", ["filled"]);
export const virtioConsole = virtioSubject(consoleSide, "virtio/console/device.ts", ["printed"]);
export const virtioSerial = virtioSubject(serialSide, "virtio/serial/device.ts", ["opened", "output"]);
export const virtioVsock = virtioSubject(vsockSide, "virtio/vsock/device.ts", ["in the kernel"]);
export const virtioBalloon = virtioSubject(balloonSide, "virtio/balloon/device.ts", ["released", "told"]);
export const virtioKeyboard = virtioSubject((world) => inputSide(world, KEYBOARD), "virtio/input/device.ts", [
  "kept",
  "delivered",
]);
export const virtioTablet = virtioSubject((world) => inputSide(world, TABLET), "virtio/input/device.ts", [
  "kept",
  "delivered",
]);
