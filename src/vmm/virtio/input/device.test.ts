import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { DeviceStatus } from "../bits.ts";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestMachine } from "../testing/machine.ts";
import {
  Axis,
  BTN_LEFT,
  EventType,
  InputAbsInfo,
  InputConfig,
  InputDevIds,
  InputEvent,
  InputQueue,
  InputSelect,
  REL_WHEEL,
} from "./bits.ts";
import { VirtioInput } from "./device.ts";
import { type InputKind, KEYBOARD, TABLET } from "./kinds.ts";

const BUFFERS = 64;
const A = 30;
const SHIFT = 42;
const BTN_RIGHT = BTN_LEFT + 1;
const BTN_MIDDLE = BTN_LEFT + 2;

/** A device with a driver as Linux has one: it offers buffers and gives each back at once, unless it is told not to. */
class Input {
  readonly machine = new TestMachine();
  readonly device: VirtioInput;
  readonly driver: TestDriver;
  readonly transport;

  constructor(kind: InputKind, buffers = BUFFERS) {
    this.device = new VirtioInput({ name: "input", memory: this.machine.memory, kind });
    this.transport = this.machine.attach(this.device);
    this.driver = new TestDriver(this.machine, this.transport);
    this.start(buffers);
  }

  get events(): TestQueue {
    return this.driver.queues[InputQueue.event] as TestQueue;
  }

  start(buffers = BUFFERS): void {
    this.driver.start();
    this.offer(buffers);
  }

  offer(buffers: number): void {
    for (let i = 0; i < buffers; i++) this.events.submit([InputEvent.size]);
    this.events.ring();
  }

  /** Events since the last call, as [type, code, value]; reports end with "|". Their buffers are offered again. */
  take(again = true): (string | readonly number[])[] {
    const used = this.events.collect();
    const seen = used.map(({ data, written }) => {
      assert.equal(written, InputEvent.size);
      const { type, code, value } = InputEvent.decode(data[0] as Uint8Array);
      return type === EventType.SYN ? "|" : [type, code, value];
    });
    if (again) this.offer(used.length);
    return seen;
  }

  /** What the configuration says of a selection. */
  ask(select: number, subselect = 0): Uint8Array {
    const { address } = this.driver.device;
    this.machine.write(address + InputConfig.offset.select, 1, select);
    this.machine.write(address + InputConfig.offset.subsel, 1, subselect);
    const size = this.machine.read(address + InputConfig.offset.size, 1);
    return Uint8Array.from({ length: size }, (_, i) =>
      this.machine.read(address + InputConfig.offset.u + i, 1),
    );
  }

  bits(type: number): number[] {
    const bytes = this.ask(InputSelect.EV_BITS, type);
    return [...bytes].flatMap((byte, i) =>
      [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => byte & (1 << bit)).map((bit) => 8 * i + bit),
    );
  }
}

test("the configuration describes a keyboard", () => {
  const keyboard = new Input(KEYBOARD);
  assert.equal(Buffer.from(keyboard.ask(InputSelect.ID_NAME)).toString(), "Thimble keyboard");
  assert.deepEqual(InputDevIds.decode(keyboard.ask(InputSelect.ID_DEVIDS)), {
    bustype: 6,
    vendor: 0x1af4,
    product: 1,
    version: 1,
  });
  const keys = keyboard.bits(EventType.KEY);
  assert.ok([1, A, SHIFT, 88, 111, 125, 127].every((key) => keys.includes(key)));
  assert.ok(!keys.includes(0) && !keys.includes(116) && !keys.includes(128), "no power button");
  assert.deepEqual(keyboard.bits(EventType.LED), [0, 1, 2]);
  assert.ok(keyboard.bits(EventType.REP).length > 0);
  for (const type of [EventType.REL, EventType.ABS, 4, 0x1f, 0xff])
    assert.deepEqual(keyboard.bits(type), [], `type ${type}`);
  for (const select of [0, InputSelect.ID_SERIAL, InputSelect.PROP_BITS, InputSelect.ABS_INFO, 0x55, 0xff])
    assert.equal(keyboard.ask(select).length, 0, `selection ${select}`);
});

test("the configuration describes a tablet", () => {
  const tablet = new Input(TABLET);
  assert.equal(Buffer.from(tablet.ask(InputSelect.ID_NAME)).toString(), "Thimble tablet");
  assert.deepEqual(tablet.bits(EventType.KEY), [BTN_LEFT, BTN_RIGHT, BTN_MIDDLE]);
  assert.deepEqual(tablet.bits(EventType.REL), [REL_WHEEL]);
  assert.deepEqual(tablet.bits(EventType.ABS), [Axis.x, Axis.y]);
  assert.deepEqual(tablet.bits(EventType.LED), []);
  for (const axis of [Axis.x, Axis.y]) {
    const info = InputAbsInfo.decode(tablet.ask(InputSelect.ABS_INFO, axis));
    assert.deepEqual(info, { min: 0, max: 32767, fuzz: 0, flat: 0, res: 0 });
  }
  assert.equal(tablet.ask(InputSelect.ABS_INFO, 2).length, 0);
  // Both selectors in one write, and writes elsewhere.
  const { address } = tablet.driver.device;
  tablet.machine.write(address, 2, InputSelect.ABS_INFO | (Axis.y << 8));
  tablet.machine.write(address + InputConfig.offset.u, 4, 0xffff_ffff);
  assert.equal(tablet.machine.read(address + InputConfig.offset.size, 1), InputAbsInfo.size);
  assert.equal(tablet.machine.read(address + InputConfig.offset.u, 4), 0);
});

test("a key is one report down and one up; repeats and unknown keys are none", () => {
  const input = new Input(KEYBOARD);
  const { device } = input;
  device.key(A, true);
  assert.deepEqual(input.take(), [[1, A, 1], "|"]);
  device.key(A, true);
  device.key(116, true);
  device.key(0, true);
  device.key(4000, true);
  device.pointer(1, 2, 3, 1);
  assert.deepEqual(input.take(), []);
  device.key(A, false);
  assert.deepEqual(input.take(), [[1, A, 0], "|"]);
});

test("the pointer's place, buttons and wheel come in one report, only what changed", () => {
  const input = new Input(TABLET);
  input.device.pointer(100, 200, 1, 0);
  assert.deepEqual(input.take(), [[3, Axis.y, 200], [3, Axis.x, 100], [1, BTN_LEFT, 1], "|"]);
  input.device.pointer(100, 300, 2 | 4, 0);
  assert.deepEqual(input.take(), [
    [3, Axis.y, 300],
    [1, BTN_MIDDLE, 1],
    [1, BTN_RIGHT, 1],
    [1, BTN_LEFT, 0],
    "|",
  ]);
  input.device.pointer(100, 300, 6, -1);
  input.device.pointer(100, 300, 6, 0);
  input.device.pointer(100, 300, 6, 1);
  assert.deepEqual(input.take(), [[2, REL_WHEEL, -1], "|", [2, REL_WHEEL, 1], "|"]);
});

test("without a driver input is nobody's, and a new driver starts with everything up", () => {
  const input = new Input(KEYBOARD);
  input.device.key(A, true);
  input.driver.reset();
  assert.equal(input.device.running, false);
  input.device.key(SHIFT, true);
  input.start();
  assert.equal(input.device.running, true);
  assert.deepEqual(input.take(), []);
  input.device.key(A, false);
  assert.deepEqual(input.take(), []);
  input.device.key(A, true);
  assert.deepEqual(input.take(), [[1, A, 1], "|"]);
});

test("events wait for buffers, in order", () => {
  const input = new Input(KEYBOARD, 3);
  input.device.key(A, true);
  input.device.key(A, false);
  assert.deepEqual(input.take(false), [[1, A, 1], "|", [1, A, 0]]);
  assert.equal(input.device.pending, 1);
  input.offer(4);
  assert.deepEqual(input.take(false), ["|"]);
  assert.equal(input.device.pending, 0);
  input.device.key(SHIFT, true);
  assert.deepEqual(input.take(), [[1, SHIFT, 1], "|"]);
});

test("a driver that does not listen loses whole reports, but learns in the end what is down and where the pointer is", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  for (const kind of [KEYBOARD, TABLET]) {
    const input = new Input(kind, 0);
    const down = new Set<number>();
    const place = { x: 0, y: 0 };
    for (let i = 0; i < 2000; i++) {
      if (kind.pointer) {
        const buttons = random.below(8);
        place.x = random.below(32768);
        place.y = random.below(32768);
        input.device.pointer(place.x, place.y, buttons, random.below(3) - 1);
        down.clear();
        [BTN_LEFT, BTN_MIDDLE, BTN_RIGHT].forEach((code, bit) => {
          if (buttons & (1 << bit)) down.add(code);
        });
      } else {
        const code = 1 + random.below(80);
        const isDown = random.below(2) === 0;
        input.device.key(code, isDown);
        if (isDown) down.add(code);
        else down.delete(code);
      }
      assert.ok(input.device.pending <= 256);
    }
    // Whoever lets go of everything is believed, whatever was lost.
    const seen: (string | readonly number[])[] = [];
    for (let got = 1; got > 0; ) {
      input.offer(1 + random.below(20));
      const events = input.take(false);
      seen.push(...events);
      got = events.length;
    }
    const guest = new Set<number>();
    let reports = 0;
    for (const event of seen) {
      if (typeof event === "string") {
        reports++;
        continue;
      }
      const [type, code, value] = event as [number, number, number];
      if (type !== EventType.KEY) continue;
      if (value === 1) guest.add(code);
      else guest.delete(code);
    }
    assert.ok(reports < 300);
    assert.equal(seen.at(-1), "|", "the last report is whole");
    assert.deepEqual([...guest].sort(), [...down].sort(), `seed ${seed}`);
    if (!kind.pointer) continue;
    const last = (axis: number) => seen.findLast((e) => e[0] === EventType.ABS && e[1] === axis)?.[2];
    assert.deepEqual({ x: last(Axis.x), y: last(Axis.y) }, place, `seed ${seed}`);
  }
});

test("lamps are taken note of, other status and odd buffers are not", () => {
  const input = new Input(KEYBOARD);
  const status = input.driver.queues[InputQueue.status] as TestQueue;
  const tell = (type: number, code: number, value: number) =>
    assert.equal(status.run([InputEvent.encode({ type, code, value })]).length, 1);
  tell(EventType.LED, 1, 1);
  tell(EventType.LED, 0, 1);
  tell(EventType.LED, 0, 0);
  assert.equal(input.device.leds, 2);
  tell(EventType.LED, 3, 1);
  tell(EventType.LED, 0xffff, 1);
  tell(EventType.REP, 0, 500);
  assert.equal(status.run([new Uint8Array(3)]).length, 1);
  assert.equal(status.run([8]).length, 1);
  assert.equal(status.run([new Uint8Array(4000)]).length, 1);
  assert.equal(input.device.leds, 2);
  assert.equal(input.driver.status & DeviceStatus.DEVICE_NEEDS_RESET, 0);
});

test("a keyboard saved with a key down and events waiting goes on on another machine", () => {
  const input = new Input(KEYBOARD, 1);
  input.device.key(A, true);
  input.device.key(SHIFT, true);
  const state = JSON.parse(JSON.stringify(input.transport.save()));
  const other = new TestMachine(input.machine.memory);
  const device = new VirtioInput({ name: "input", memory: other.memory, kind: KEYBOARD });
  const transport = other.attach(device);
  transport.restore(state);
  assert.deepEqual(JSON.parse(JSON.stringify(transport.save())), state);
  device.key(A, false);
  const driver = new TestDriver(other, transport);
  for (let i = 0; i < 8; i++) input.events.submit([InputEvent.size]);
  other.write(driver.notify, 2, 0);
  other.settle();
  assert.deepEqual(input.take(false), [[1, A, 1], "|", [1, SHIFT, 1], "|", [1, A, 0], "|"]);
  for (const bad of [
    {},
    { version: 2 },
    { ...device.save(), now: [40000] },
    { ...device.save(), events: new Array(600).fill(0) },
  ])
    assert.throws(() => device.restore(bad as never), { code: "bad_state" });
});
