/**
 * Every device under a driver that does anything: random register accesses, random rings, random chains, resets, and
 * moves to another machine in between. Nothing throws, nothing hangs, and after a reset a well-behaved driver finds a
 * device that works.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, MiB } from "../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { ECAM_FUNCTION_SIZE } from "../bus/pci/bits.ts";
import { BlkRequestHeader, BlkStatus } from "./blk/bits.ts";
import { VirtioBlk } from "./blk/device.ts";
import { VirtioConsole } from "./console/device.ts";
import type { VirtioDevice } from "./device.ts";
import { InputEvent } from "./input/bits.ts";
import { VirtioInput } from "./input/device.ts";
import { KEYBOARD, TABLET } from "./input/kinds.ts";
import { parseMac, VirtioNet } from "./net/device.ts";
import { VirtioRng } from "./rng/device.ts";
import { TestDriver, type TestQueue } from "./testing/driver.ts";
import { TestTap, TestTerminal } from "./testing/fakes.ts";
import { TestMachine } from "./testing/machine.ts";
import { RamDisk } from "./testing/ram-disk.ts";

const MEMORY = 4 * MiB;
const SLOT = 1;
const STEPS = 120;
const ROUNDS = 100;

/** A device, what may happen on its other side, and a proof that it works. */
interface Subject {
  readonly device: VirtioDevice;
  outside(random: SeededRandom): void;
  quiet(): void;
  works(driver: TestDriver): void;
}

function queueOf(driver: TestDriver, index: number): TestQueue {
  return driver.queues[index] as TestQueue;
}

const SUBJECTS: Record<string, (machine: TestMachine) => Subject> = {
  blk: (machine) => {
    const disk = new RamDisk(machine.memory, MiB);
    return {
      device: new VirtioBlk({ name: "blk", memory: machine.memory, backend: disk }),
      outside: (random) => {
        disk.holding = random.below(3) === 0;
        disk.failures = random.below(8) === 0 ? { read: -5, write: -28, flush: -5 } : {};
        while (disk.held.length > 0 && random.below(8) !== 0) disk.complete(random.below(disk.held.length));
        disk.calls.length = 0;
      },
      quiet: () => {
        disk.holding = false;
        disk.failures = {};
        while (disk.held.length > 0) disk.complete();
      },
      works: (driver) => {
        const [used] = queueOf(driver, 0).run([BlkRequestHeader.encode({}), 512, 1]);
        assert.equal(used?.data[1]?.[0], BlkStatus.OK);
      },
    };
  },
  net: (machine) => {
    const tap = new TestTap(machine.memory);
    return {
      device: new VirtioNet({
        name: "net",
        memory: machine.memory,
        backend: tap,
        mac: parseMac("52:54:00:00:00:01"),
      }),
      outside: (random) => {
        if (tap.waiting.length < 4) tap.arrive(random.below(random.pick([100, 1514, 65000])), 0);
        tap.sent.length = 0;
      },
      quiet: () => {
        tap.waiting.length = 0;
      },
      works: (driver) => {
        tap.sent.length = 0;
        queueOf(driver, 1).run([new Uint8Array(80)]);
        assert.equal(tap.sent.length, 1);
        queueOf(driver, 0).submit([1600]);
        queueOf(driver, 0).ring();
        tap.arrive(60, 0);
        assert.equal(queueOf(driver, 0).collect().length, 1);
      },
    };
  },
  rng: (machine) => ({
    device: new VirtioRng({ name: "rng", memory: machine.memory, source: (target) => target.fill(1) }),
    outside: () => {},
    quiet: () => {},
    works: (driver) => assert.equal(queueOf(driver, 0).run([32])[0]?.written, 32),
  }),
  console: (machine) => {
    const terminal = new TestTerminal();
    const device = new VirtioConsole({ name: "console", memory: machine.memory, backend: terminal });
    return {
      device,
      outside: (random) => {
        if (random.below(4) === 0) device.resize(random.below(200), random.below(200));
        terminal.type("x".repeat(random.below(300)));
        terminal.output = "";
      },
      quiet: () => terminal.resume(),
      works: (driver) => {
        terminal.output = "";
        queueOf(driver, 1).run([Uint8Array.of(0x6f, 0x6b)]);
        assert.equal(terminal.output, "ok");
      },
    };
  },
};

for (const kind of [KEYBOARD, TABLET]) {
  SUBJECTS[kind.pointer ? "tablet" : "keyboard"] = (machine) => {
    const device = new VirtioInput({ name: "input", memory: machine.memory, kind });
    return {
      device,
      outside: (random) => {
        device.key(kind.firstKey + random.below(kind.keyCount + 5), random.below(2) === 0);
        device.pointer(random.below(32768), random.below(32768), random.below(8), random.below(3) - 1);
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
  };
}

/** One thing a hostile driver may do. */
function step(random: SeededRandom, machine: TestMachine, bar: number, driver: TestDriver): void {
  const size = random.pick([1, 2, 4]);
  const value = random.pick([random.u32(), random.below(256), random.below(4), 0, 0xffff_ffff]);
  // Most steps offer chains: a register that goes wrong ends the queues' life early.
  switch (random.below(80)) {
    case 0:
      machine.pci.ecam.write(SLOT * 8 * ECAM_FUNCTION_SIZE + random.below(256), size, value);
      return;
    case 1:
      machine.pci.ecam.read(SLOT * 8 * ECAM_FUNCTION_SIZE + random.below(256), size);
      return;
    case 2:
      // A place on any page of the BAR.
      machine.read(bar + random.below(8) * 4096 + random.below(random.pick([64, 4096 - 4])), size);
      return;
    case 3:
    case 4:
      machine.write(bar + random.below(8) * 4096 + random.below(random.pick([64, 4096 - 4])), size, value);
      return;
    case 5: {
      // Registers that exist, with their widths.
      const fields = [
        "device_status",
        "queue_size",
        "queue_enable",
        "queue_select",
        "queue_msix_vector",
      ] as const;
      const field = random.pick(fields);
      driver.write(field, field === "device_status" ? 1 : 2, random.pick([1, 2, 4, 8, 15, 64, 128, value]));
      return;
    }
    case 6: {
      const word = machine.memory.view(random.pick([MiB, 2 * MiB]) + random.below(0x3000), 2);
      word?.fill(random.below(256));
      return;
    }
    default:
      chain(random, driver);
  }
}

/** A chain with a fault now and then, and the doorbell. */
function chain(random: SeededRandom, driver: TestDriver): void {
  const queue = random.pick(driver.queues);
  if (queue === undefined) return;
  const head = random.below(queue.size);
  const length = 1 + random.below(5);
  for (let i = 0; i < length; i++) {
    const good = random.below(20) !== 0;
    const address = good
      ? 0x3_0000 + random.below(MiB / 2)
      : random.pick([MEMORY - 1, 3 * GiB, 2 ** 63, random.u32()]);
    const size = good ? random.pick([1, 16, 512, 1024, 1536]) : random.u32();
    const flags =
      (i + 1 < length ? 1 : 0) | (random.below(length) <= i ? 2 : 0) | (random.below(60) === 0 ? 4 : 0);
    queue.setDescriptor(
      queue.descriptorTable,
      (head + i) % queue.size,
      address,
      size,
      flags,
      (head + i + 1) % queue.size,
    );
  }
  const type = BlkRequestHeader.encode({ type: random.below(16), sector: random.below(4096) });
  queue.memory.write(0x3_0000 + random.below(1024) * 16, type);
  queue.offer(random.below(40) === 0 ? random.below(65536) : head);
  if (random.below(2) === 0) queue.ring();
}

for (const [name, make] of Object.entries(SUBJECTS)) {
  test(`virtio-${name} survives any driver and works after a reset`, () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    let machine = new TestMachine(MEMORY);
    let subject = make(machine);
    let transport = machine.attach(subject.device, SLOT);
    let driver = new TestDriver(machine, transport);
    let broken = 0;
    try {
      for (let round = 0; round < ROUNDS; round++) {
        transport.reset();
        driver = new TestDriver(machine, transport);
        const queueSize = random.pick([4, 16, 64]);
        driver.start({ queueSize, useMsix: random.below(4) !== 0, place: (i) => MiB / 4 + i * 0x4_0000 });
        const bar = transport.function.barAddress(0) as number;
        for (let i = 0; i < STEPS; i++) {
          step(random, machine, bar, driver);
          if (random.below(4) === 0) subject.outside(random);
          if (random.below(10) === 0) machine.settle();
          if (random.below(150) !== 0) continue;
          // Move to another machine.
          subject.quiet();
          machine.settle();
          const state = JSON.parse(JSON.stringify(transport.save()));
          broken += machine.log.length;
          machine = new TestMachine(machine.memory);
          subject = make(machine);
          transport = machine.attach(subject.device, SLOT);
          transport.restore(state);
          assert.deepEqual(JSON.parse(JSON.stringify(transport.save())), state);
          driver = rebind(driver, machine, transport);
        }
        machine.settle();
        broken += machine.log.length;
        machine.log.length = 0;
        subject.quiet();
        transport.reset();
        const honest = new TestDriver(machine, transport);
        honest.start({ place: (i) => MiB + i * MiB });
        subject.works(honest);
      }
    } catch (error) {
      console.error(`THIMBLE_SEED=${seed} repeats this`);
      throw error;
    }
    assert.ok(broken > ROUNDS / 4, `seed ${seed}: rules were broken only ${broken} times`);
  });
}

/** The same driver on another machine: its queues keep their place in memory, the doorbells are the new machine's. */
function rebind(
  old: TestDriver,
  machine: TestMachine,
  transport: ReturnType<TestMachine["attach"]>,
): TestDriver {
  const command = transport.function.readConfig(4, 2);
  transport.function.writeConfig(4, 2, 2);
  const barMoved = transport.function.barAddress(0) === null;
  const driver = barMoved ? old : new TestDriver(machine, transport);
  if (!barMoved) driver.queues.push(...old.queues);
  transport.function.writeConfig(4, 2, command);
  return driver;
}
