import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { PAGE_BYTES, type Screen, type ScreenMode, VIDEO_MEMORY_BYTES } from "../devices/display/screen.ts";
import { Encoding } from "./bits.ts";
import type { VncClient } from "./client.ts";
import { type Format, NATIVE, Viewer } from "./test-viewer.ts";
import { Viewers } from "./viewers.ts";

/** A screen drawn by tests, which note what they draw as KVM does. */
class TestScreen implements Screen {
  readonly pixels = new Uint32Array(VIDEO_MEMORY_BYTES / 4);
  current: ScreenMode | null = null;
  watching = false;
  readonly #dirty = new Set<number>();

  setMode(width: number, height: number, change: Partial<ScreenMode> = {}): void {
    this.current = { width, height, offset: 0, stride: width, bigEndian: false, ...change };
  }

  mode(): ScreenMode | null {
    return this.current;
  }

  watch(watching: boolean): void {
    this.watching = watching;
  }

  takeDirty(pages: Uint8Array): void {
    pages.fill(0);
    for (const page of this.#dirty) pages[page >> 3] = (pages[page >> 3] as number) | (1 << (page & 7));
    this.#dirty.clear();
  }

  put(x: number, y: number, colour: number): void {
    const { offset, stride, bigEndian } = this.current as ScreenMode;
    const at = offset + y * stride + x;
    this.pixels[at] = bigEndian ? Buffer.from(Uint32Array.of(colour).buffer).readUInt32BE() : colour;
    this.#dirty.add(Math.floor((at * 4) / PAGE_BYTES));
  }

  fill(x: number, y: number, width: number, height: number, colour: (x: number, y: number) => number): void {
    for (let row = y; row < y + height; row++) {
      for (let column = x; column < x + width; column++) this.put(column, row, colour(column, row));
    }
  }

  /** What a viewer of this format is to see. */
  expected({ colours }: Format): number[][] {
    const { width, height, offset, stride, bigEndian } = this.current as ScreenMode;
    return Array.from({ length: width * height }, (_, i) => {
      const raw = this.pixels[offset + Math.floor(i / width) * stride + (i % width)] as number;
      const colour = bigEndian ? Buffer.from(Uint32Array.of(raw).buffer).readUInt32BE() : raw;
      return colours.map(([max], c) => Math.round((((colour >>> (16 - 8 * c)) & 0xff) * max) / 255));
    });
  }
}

type Input = ["key", number, boolean] | ["pointer", number, number, number, number];

function machine() {
  const screen = new TestScreen();
  const input: Input[] = [];
  const viewers = new Viewers({
    name: "test machine",
    screen,
    sink: {
      key: (keycode, down) => input.push(["key", keycode, down]),
      pointer: (...at) => input.push(["pointer", ...at]),
    },
  });
  let nowMs = 0;
  /** Lets time pass until nothing is left to do but wait. */
  const run = (rounds = 40) => {
    for (let i = 0; i < rounds; i++) nowMs += viewers.turn(nowMs) ?? 100;
  };
  return { screen, input, viewers, run };
}

/** A viewer that takes at most `room.bytes` bytes. */
function attach({ viewers, run }: ReturnType<typeof machine>, room = { bytes: Number.POSITIVE_INFINITY }) {
  const complaints: string[] = [];
  const early: Uint8Array[] = [];
  let receive = (bytes: Uint8Array): void => void early.push(bytes);
  const client: VncClient = viewers.add(
    (bytes) => {
      const taken = Math.min(bytes.length, room.bytes);
      room.bytes -= taken;
      if (taken > 0) receive(bytes.slice(0, taken));
      return taken;
    },
    (why) => complaints.push(why),
  );
  const viewer = new Viewer((bytes) => client.receive(bytes));
  receive = (bytes) => viewer.receive(bytes);
  for (const bytes of early) receive(bytes);
  const greet = () => {
    viewer.hello();
    viewer.takeHello();
  };
  /** Asks for what changed and takes it. */
  const update = (incremental = true) => {
    viewer.request(incremental);
    run();
    assert.ok(viewer.takeUpdate(), "an update came");
  };
  return { client, viewer, complaints, greet, update };
}

const RGB565: Format = {
  bits: 16,
  big: false,
  depth: 16,
  colours: [
    [31, 11],
    [63, 5],
    [31, 0],
  ],
};
const FORMATS: readonly Format[] = [
  NATIVE,
  { ...NATIVE, big: true },
  { ...NATIVE, colours: [...NATIVE.colours].reverse() },
  { ...NATIVE, colours: NATIVE.colours.map(([max, shift]) => [max, shift + 8]) },
  { ...NATIVE, big: true, colours: NATIVE.colours.map(([max, shift]) => [max, shift + 8]) },
  { ...NATIVE, depth: 32 },
  { ...NATIVE, depth: 30, colours: [20, 10, 0].map((shift) => [1023, shift]) },
  RGB565,
  { ...RGB565, big: true },
  {
    bits: 8,
    big: false,
    depth: 8,
    colours: [
      [7, 0],
      [7, 3],
      [3, 6],
    ],
  },
];

/** Draws areas of every kind: even, of two colours, of few, of many, gradients, noise. */
function draw(screen: TestScreen, random: SeededRandom): void {
  const { width, height } = screen.current as ScreenMode;
  const x = random.below(width);
  const y = random.below(height);
  const colours = Array.from(
    { length: random.pick([1, 2, 3, 4, 5, 16, 17, 127, 128, 1000]) },
    () => random.u32() & 0xff_ffff,
  );
  const run = random.pick([1, 1, 3, 300]);
  let i = 0;
  let colour = 0;
  screen.fill(x, y, 1 + random.below(width - x), 1 + random.below(height - y), () => {
    if (i++ % run === 0) colour = random.pick(colours);
    return colour;
  });
}

for (const encoding of ["raw", "zrle"] as const) {
  test(`${encoding}: every pixel format shows what the guest drew, also after changes`, () => {
    const random = new SeededRandom(testSeed());
    for (const format of FORMATS) {
      const all = machine();
      all.screen.setMode(200, 150);
      const { viewer, greet, update } = attach(all);
      greet();
      assert.equal(viewer.name, "test machine");
      assert.deepEqual([viewer.width, viewer.height], [200, 150]);
      viewer.setFormat(format);
      viewer.setEncodings(Encoding[encoding]);
      update(false);
      for (let round = 0; round < 12; round++) {
        assert.deepEqual(viewer.picture, all.screen.expected(format), `seed ${random.seed}, round ${round}`);
        draw(all.screen, random);
        all.screen.put(random.below(200), random.below(150), random.u32() & 0xff_ffff);
        all.screen.put(199, 149, round + 1);
        update();
      }
      assert.ok(viewer.encodings.every((used) => used === Encoding[encoding]));
    }
  });
}

test("only what changed is sent, and nothing while nothing changes", () => {
  const all = machine();
  all.screen.setMode(1024, 768);
  const { viewer, greet, update } = attach(all);
  greet();
  viewer.setEncodings(Encoding.raw);
  update();
  viewer.encodings.length = 0;
  viewer.request(true);
  all.run();
  assert.equal(viewer.takeUpdate(), false);
  all.screen.put(700, 700, 0xff_0000);
  all.run();
  assert.ok(viewer.takeUpdate());
  assert.equal(viewer.encodings.length, 1);
  all.screen.put(700, 700, 0xff_0000);
  update(false);
  assert.deepEqual(viewer.picture[700 * 1024 + 700], [255, 0, 0]);
});

test("any place and row length in memory is shown, odd ones and the other byte order too", () => {
  const random = new SeededRandom(testSeed());
  for (const bigEndian of [false, true]) {
    for (const [width, stride, offset] of [
      [99, 99, 0],
      [99, 131, 1037],
      [128, 200, 7],
      [65, 66, VIDEO_MEMORY_BYTES / 4 - 66 * 49 - 65],
    ] as const) {
      const all = machine();
      all.screen.setMode(width, 50, { stride, offset, bigEndian });
      const { viewer, greet, update } = attach(all);
      greet();
      viewer.setEncodings(Encoding.zrle);
      update();
      for (let round = 0; round < 10; round++) {
        draw(all.screen, random);
        all.screen.put(width - 1, 49, random.u32() & 0xff_ffff);
        all.screen.put(0, 0, round + 1);
        update();
        assert.deepEqual(viewer.picture, all.screen.expected(NATIVE), `seed ${random.seed}`);
      }
    }
  }
});

test("a change of the picture's size is told as the viewer wants it; others see what fits", () => {
  const all = machine();
  const extended = attach(all);
  const plain = attach(all);
  const none = attach(all);
  for (const { greet } of [extended, plain, none]) greet();
  assert.deepEqual(
    [none.viewer.width, none.viewer.height],
    [640, 480],
    "blank before the guest shows anything",
  );
  extended.viewer.setEncodings(Encoding.zrle, Encoding.desktopSize, Encoding.extendedDesktopSize);
  plain.viewer.setEncodings(Encoding.zrle, Encoding.desktopSize);
  none.viewer.setEncodings(Encoding.zrle);
  for (const { update } of [extended, plain, none]) update(false);
  assert.ok(extended.viewer.encodings.includes(Encoding.extendedDesktopSize), "told that it may");
  all.screen.setMode(320, 200);
  all.screen.fill(0, 0, 320, 200, (x, y) => x * 257 + y);
  for (const { update } of [extended, plain]) {
    update();
    update();
  }
  assert.deepEqual(extended.viewer.picture, all.screen.expected(NATIVE));
  assert.deepEqual(plain.viewer.picture, all.screen.expected(NATIVE));
  none.update();
  assert.deepEqual(none.viewer.picture[199 * 640 + 319], [1, 65, 6]); // 319 * 257 + 199
  all.screen.setMode(800, 600);
  none.update();
  assert.deepEqual([none.viewer.width, none.viewer.height], [640, 480]);
});

test("a viewer's wish for another size is answered with a refusal", () => {
  const all = machine();
  all.screen.setMode(320, 200);
  const { viewer, greet, update, client } = attach(all);
  greet();
  viewer.setEncodings(Encoding.extendedDesktopSize);
  update();
  viewer.encodings.length = 0;
  client.receive(Buffer.concat([Buffer.from([251, 0, 4, 0, 3, 0, 1, 0]), Buffer.alloc(16)]));
  update();
  assert.deepEqual(viewer.encodings, [Encoding.extendedDesktopSize]);
  assert.deepEqual([viewer.width, viewer.height], [320, 200]);
});

test("a viewer that reads slowly costs one rectangle, and sees the newest picture in the end", () => {
  const random = new SeededRandom(testSeed());
  const all = machine();
  all.screen.setMode(400, 300);
  const room = { bytes: Number.POSITIVE_INFINITY };
  const { viewer, greet, client } = attach(all, room);
  greet();
  viewer.setEncodings(Encoding.raw);
  room.bytes = 0;
  viewer.request(false);
  for (let i = 0; i < 20; i++) {
    draw(all.screen, random);
    viewer.request(true);
    all.run(20);
  }
  assert.ok(client.blocked);
  // The picture even changes its form while an update is half sent.
  all.screen.setMode(320, 200);
  all.run(20);
  all.screen.setMode(400, 300, { offset: 400 });
  for (let updates = 0; updates < 3; ) {
    room.bytes = 20_000;
    client.writable();
    all.run(5);
    if (viewer.takeUpdate()) {
      updates++;
      viewer.request(updates !== 2);
    }
  }
  assert.deepEqual(viewer.picture, all.screen.expected(NATIVE), `seed ${random.seed}`);
});

test("keys by keysym and by scancode, the pointer, and the wheel reach the machine; what is held is let go", () => {
  const all = machine();
  all.screen.setMode(1001, 501);
  const { client, greet, viewer, update } = attach(all);
  greet();
  viewer.setEncodings(Encoding.raw, Encoding.qemuExtendedKey);
  update();
  assert.ok(viewer.encodings.includes(Encoding.qemuExtendedKey));
  client.receive(Uint8Array.of(4, 1, 0, 0, 0, 0, 0xff, 0xe1)); // Shift_L
  client.receive(Uint8Array.of(4, 1, 0, 0, 0, 0, 0, 0x41)); // A
  client.receive(Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0x41));
  client.receive(Uint8Array.of(255, 0, 0, 1, 0, 0, 0, 0x79, 0, 0, 0, 0x2c)); // a German y is a US z
  client.receive(Uint8Array.of(255, 0, 0, 1, 0, 0, 0xff, 0x53, 0, 0, 0, 0xcd)); // Right
  client.receive(Uint8Array.of(4, 1, 0, 0, 0, 1, 2, 3)); // no such key
  client.receive(Uint8Array.of(5, 0b101, 0x01, 0xf4, 0, 250)); // 500, 250
  client.receive(Uint8Array.of(5, 0b1001, 0x03, 0xe8, 0x01, 0xf4));
  client.receive(Uint8Array.of(5, 0b1001, 0x03, 0xe8, 0x01, 0xf4));
  client.receive(Uint8Array.of(5, 0b10001, 0xff, 0xff, 0xff, 0xff));
  all.viewers.remove(client);
  assert.deepEqual(all.input, [
    ["key", 42, true],
    ["key", 30, true],
    ["key", 30, false],
    ["key", 44, true],
    ["key", 106, true],
    ["pointer", 16384, 16384, 5, 0],
    ["pointer", 32767, 32767, 1, 1],
    ["pointer", 32767, 32767, 1, 0],
    ["pointer", 32767, 32767, 1, -1],
    ["key", 42, false],
    ["key", 44, false],
    ["key", 106, false],
    ["pointer", 32767, 32767, 0, 0],
  ]);
});

test("older versions of the protocol shake hands", () => {
  for (const [version, chooses, answer] of [
    ["003.003", "", 12 + 4],
    ["003.007", "\x01", 12 + 2],
    ["003.889", "\x01", 12 + 2 + 4],
  ] as const) {
    const { viewers } = machine();
    const received: number[] = [];
    const client = viewers.add(
      (bytes) => {
        received.push(...bytes);
        return bytes.length;
      },
      (why) => assert.fail(why),
    );
    client.receive(Buffer.from(`RFB ${version}\n${chooses}`, "latin1"));
    assert.equal(received.length, answer, version);
    client.receive(Uint8Array.of(0));
    assert.equal(received.length, answer + 24 + "test machine".length, version);
  }
});

test("nobody looking costs nothing: writes are noted only while a viewer is there", () => {
  const all = machine();
  const one = attach(all);
  const two = attach(all);
  assert.ok(all.screen.watching);
  all.viewers.remove(one.client);
  assert.ok(all.screen.watching);
  all.viewers.remove(two.client);
  assert.equal(all.screen.watching, false);
  assert.equal(all.viewers.turn(0), null);
});

test("bytes of any kind in pieces of any size: a viewer ends or goes on, and keeps little", () => {
  const random = new SeededRandom(testSeed());
  const messages: (() => Uint8Array)[] = [
    () => Buffer.from("RFB 003.008\n"),
    () => Uint8Array.of(0, ...random.fill(new Uint8Array(19))),
    () => Uint8Array.of(0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, random.below(32), 8, 0, 0, 0, 0),
    () => Uint8Array.of(0, 0, 0, 0, 8, 8, 0, 0, ...random.fill(new Uint8Array(12))),
    () => Uint8Array.of(2, 0, 0, 3, 0, 0, 0, 16, 255, 255, 255, 33, 255, 255, 254, 204),
    () => Uint8Array.of(2, 0, 0, random.below(3), ...random.fill(new Uint8Array(random.below(9)))),
    () => Uint8Array.of(3, random.below(2), ...random.fill(new Uint8Array(8))),
    () => Uint8Array.of(3, random.below(2), 0, 0, 0, 0, 255, 255, 255, 255),
    () => Uint8Array.of(4, ...random.fill(new Uint8Array(7))),
    () => Uint8Array.of(5, ...random.fill(new Uint8Array(5))),
    () =>
      Uint8Array.of(6, 0, 0, 0, 0, 0, 0, random.below(9), ...random.fill(new Uint8Array(random.below(9)))),
    () => Uint8Array.of(251, ...random.fill(new Uint8Array(7))),
    () => Uint8Array.of(255, 0, ...random.fill(new Uint8Array(10))),
    () => random.fill(new Uint8Array(random.below(40))),
  ];
  for (let round = 0; round < 400; round++) {
    const all = machine();
    all.screen.setMode(1 + random.below(300), 1 + random.below(200));
    let room = 0;
    let broken = "";
    const client = all.viewers.add(
      (bytes) => {
        const taken = Math.min(room, bytes.length);
        room -= taken;
        return taken;
      },
      (why) => {
        broken = why;
      },
    );
    const begin = Buffer.from("RFB 003.008\n\x01\x01", "latin1");
    const parts = Array.from({ length: 1 + random.below(20) }, () => random.pick(messages)());
    const bytes = Buffer.concat(random.below(8) === 0 ? parts : [begin, ...parts]);
    for (let at = 0; at < bytes.length && broken === ""; ) {
      const size = random.pick([1, 3, 100, 4096]);
      client.receive(bytes.subarray(at, at + size));
      at += size;
      if (random.below(4) === 0) {
        room += random.below(100_000);
        client.writable();
      }
      if (random.below(16) === 0) all.screen.setMode(1 + random.below(300), 1 + random.below(200));
      if (random.below(4) === 0) all.run(5);
    }
    for (const event of all.input) {
      const inRange =
        event[0] === "key"
          ? event[1] > 0 && event[1] < 256
          : event.slice(1, 3).every((value) => Number(value) >= 0 && Number(value) <= 32767);
      assert.ok(inRange, `seed ${random.seed}, round ${round}: ${event}`);
    }
    all.viewers.remove(client);
  }
});
