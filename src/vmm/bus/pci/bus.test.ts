import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, guestPhysical, KiB, MiB } from "../../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { MmioBus } from "../mmio.ts";
import { BarFlag, CONFIG_SIZE, Command, ECAM_FUNCTION_SIZE, HeaderType0, Status } from "./bits.ts";
import { HOST_BRIDGE, PciBus } from "./bus.ts";
import { type BarOptions, PciFunction } from "./function.ts";

const WINDOW = { start: 3 * GiB, size: 16 * MiB };
const at = HeaderType0.offset;
const IDENTITY = { ...HOST_BRIDGE, vendorId: 0x1234, deviceId: 0x5678, classCode: 0x02_00_01 };

function setUp(...bars: Omit<BarOptions, "block">[]) {
  const mmio = new MmioBus();
  const bus = new PciBus({ window: WINDOW, mmio });
  const line = {
    asserted: false,
    set(asserted: boolean) {
      line.asserted = asserted;
    },
  };
  const fn = new PciFunction("test", IDENTITY, line);
  const writes: string[] = [];
  for (const bar of bars) {
    const block = {
      read: (offset: number) => bar.index * 0x10000 + offset,
      write: (offset: number, size: number, value: number) =>
        void writes.push(`${bar.index}:${offset}.${size}=${value}`),
    };
    fn.addBar({ ...bar, block });
  }
  const config = (offset: number, size = 4) => bus.ecam.read(3 * 8 * ECAM_FUNCTION_SIZE + offset, size);
  const setConfig = (offset: number, value: number, size = 4) =>
    bus.ecam.write(3 * 8 * ECAM_FUNCTION_SIZE + offset, size, value);
  return { mmio, bus, fn, line, writes, config, setConfig, add: () => bus.add(3, fn) };
}

test("functions are found through ECAM and through ports 0xCF8/0xCFC, absent ones read as all ones", () => {
  const { bus, add, config } = setUp();
  add();
  assert.equal(config(0), 0x5678_1234);
  assert.equal(config(8), 0x02_00_01_00);
  assert.equal(bus.ecam.read(0, 4), 0x0008_1b36);
  assert.equal(bus.ecam.read(4 * 8 * ECAM_FUNCTION_SIZE, 4), 0xffff_ffff);
  assert.equal(bus.ecam.read((3 * 8 + 1) * ECAM_FUNCTION_SIZE, 2), 0xffff);
  assert.equal(bus.ecam.read(256 * MiB - 4, 4), 0xffff_ffff);
  assert.equal(config(0x100), 0xffff_ffff, "a conventional function has no extended space");

  assert.equal(bus.configData.read(0, 4), 0xffff_ffff, "disabled");
  bus.configAddress.write(0, 4, 0x8000_0000 | (3 << 11));
  assert.equal(bus.configAddress.read(0, 4), 0x8000_1800);
  assert.equal(bus.configData.read(0, 4), 0x5678_1234);
  assert.equal(bus.configData.read(2, 2), 0x5678);
  bus.configAddress.write(1, 1, 0xff);
  assert.equal(bus.configAddress.read(0, 4), 0x8000_1800, "byte writes are for port 0xCF9");
  bus.configAddress.write(0, 4, 0x8001_1800);
  assert.equal(bus.configData.read(0, 4), 0xffff_ffff, "bus 1 is not there");
  bus.configAddress.write(0, 4, 0x8000_1800 | at.interruptLine);
  bus.configData.write(0, 1, 11);
  assert.equal(config(at.interruptLine, 1), 11);
});

test("a slot may have further functions, which its first one announces", () => {
  const { bus, fn, add, config } = setUp();
  const second = new PciFunction("second", { ...IDENTITY, deviceId: 0x9abc }, null);
  assert.throws(() => bus.add(3, second, 1), /not free/, "there is no first");
  add();
  bus.add(3, second, 1);
  assert.throws(() => bus.add(3, second, 1), /not free/);
  assert.equal(bus.ecam.read((3 * 8 + 1) * ECAM_FUNCTION_SIZE, 4), 0x9abc_1234);
  assert.equal(config(at.headerType, 1), 0x80);
  fn.reset();
  assert.equal(config(at.headerType, 1), 0x80);
  assert.equal(bus.ecam.read((3 * 8 + 1) * ECAM_FUNCTION_SIZE + at.headerType, 1), 0);
});

test("BARs are assigned in the window, aligned, and decode at once", () => {
  const { mmio, config, add } = setUp(
    { index: 0, sizeBytes: 4 * KiB },
    { index: 1, sizeBytes: MiB },
    { index: 2, sizeBytes: 64 * KiB, is64Bit: true, prefetchable: true },
  );
  add();
  const bar0 = config(at.bar0);
  const bar1 = config(at.bar1);
  const bar2 = config(at.bar2);
  assert.equal(bar2 & 0xf, BarFlag.memory64 | BarFlag.prefetchable);
  for (const [bar, size] of [
    [bar0, 4 * KiB],
    [bar1, MiB],
    [bar2 - 0xc, 64 * KiB],
  ] as const) {
    assert.equal(bar % size, 0);
    assert.ok(bar >= WINDOW.start && bar + size <= WINDOW.start + WINDOW.size);
  }
  assert.equal(mmio.read(bar0 + 8, 4), 8);
  assert.equal(mmio.read(bar1 + 8, 4), 0x10008);
  assert.equal(mmio.read(bar2 - 0xc + 8, 4), 0x20008);
});

test("a BAR tells its size, moves when rewritten, and decodes only while memory is enabled", () => {
  const moves: (number | null)[] = [];
  const { mmio, config, setConfig, writes, add } = setUp({
    index: 0,
    sizeBytes: 16 * KiB,
    is64Bit: true,
    onMoved: (address) => moves.push(address),
  });
  add();
  const first = config(at.bar0) & ~0xf;
  setConfig(at.command, 0, 2);
  assert.equal(mmio.read(first >>> 0, 4), 0xffff_ffff);
  setConfig(at.bar0, 0xffff_ffff);
  setConfig(at.bar1, 0xffff_ffff);
  assert.equal(config(at.bar0), (0xffff_c000 | BarFlag.memory64) >>> 0);
  assert.equal(config(at.bar1), 0xffff_ffff);
  const target = 70 * GiB;
  setConfig(at.bar0, target % 2 ** 32);
  setConfig(at.bar1, Math.floor(target / 2 ** 32));
  setConfig(at.command, Command.memory | Command.busMaster, 2);
  mmio.write(target + 12, 2, 7);
  assert.deepEqual(writes, ["0:12.2=7"]);
  assert.deepEqual(moves, [first >>> 0, null, target]);
  setConfig(at.bar1, 0xffff_ffff);
  assert.equal(moves.at(-1), null, "an address above 2^52 is nowhere");
});

test("read-only fields stay, the capability list is walked, INTx follows status and disable bit", () => {
  const { fn, line, config, setConfig, add } = setUp();
  const one = fn.addCapability({
    id: 9,
    body: Uint8Array.of(5, 1, 2),
    writeMask: Uint8Array.of(0, 0xff, 0x0f),
  });
  const two = fn.addCapability({ id: 9, body: Uint8Array.of(3) });
  add();
  assert.equal(config(at.capabilitiesPointer, 1), one);
  assert.equal(config(one + 1, 1), two);
  assert.equal(config(two + 1, 1), 0);
  assert.equal(config(at.status, 2) & Status.capabilitiesList, Status.capabilitiesList);
  for (let offset = 0; offset < CONFIG_SIZE; offset += 4) setConfig(offset, 0xffff_ffff);
  assert.equal(config(0), 0x5678_1234);
  assert.equal(config(one), ((0xff << 24) | (5 << 16) | (two << 8) | 9) >>> 0);
  assert.equal(config(one + 4, 1), 0x0f & 0xff);
  setConfig(at.command, 0, 2);
  fn.setInterrupt(true);
  assert.equal(line.asserted, true);
  assert.equal(config(at.status, 2) & Status.interrupt, Status.interrupt);
  setConfig(at.command, Command.interruptDisable, 2);
  assert.equal(line.asserted, false);
  setConfig(at.command, 0, 2);
  assert.equal(line.asserted, true);
  fn.setInterrupt(false);
  assert.equal(line.asserted, false);
});

test("slots are taken once and the window ends", () => {
  const { bus, add } = setUp();
  add();
  assert.throws(() => bus.add(3, new PciFunction("again", IDENTITY, null)), /not free/);
  const large = new PciFunction("large", IDENTITY, null);
  large.addBar({ index: 0, sizeBytes: 32 * MiB, block: { read: () => 0, write: () => {} } });
  assert.throws(() => bus.add(4, large), /do not fit/);
  assert.throws(
    () => large.addBar({ index: 5, sizeBytes: 64, is64Bit: true, block: bus.ecam }),
    /not possible/,
  );
});

test("random configuration accesses change nothing they must not, and reset and restore bring all back", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const { bus, fn, mmio, config, add } = setUp(
    { index: 0, sizeBytes: 4 * KiB },
    { index: 2, sizeBytes: 64 * KiB, is64Bit: true },
  );
  fn.addCapability({ id: 9, body: Uint8Array.of(5, 1, 2), writeMask: Uint8Array.of(0, 0xff, 0x0f) });
  add();
  const powerOn = fn.config.slice();
  for (let i = 0; i < 20000; i++) {
    const size = random.pick([1, 2, 4]);
    const slot = random.pick([0, 3, 3, 3, random.below(65536)]);
    const offset = slot * 8 * ECAM_FUNCTION_SIZE + random.below(random.pick([64, 256, 4096]));
    const value = random.pick([random.u32(), 0xffff_ffff, 0, Command.memory]);
    if (random.below(2) === 0) bus.ecam.write(offset, size, value);
    else bus.ecam.read(offset, size);
    if (random.below(4) === 0) bus.configAddress.write(0, 4, random.u32());
    if (random.below(4) === 0) bus.configData.write(random.below(4), random.pick([1, 2]), random.u32());
    const address = fn.barAddress(0);
    if (address !== null && address !== fn.barAddress(2)) mmio.read(guestPhysical(address + 4), 4);
    if (i % 100 === 0) {
      assert.equal(config(0), 0x5678_1234, `seed ${seed}`);
      assert.equal(config(at.bar0) & 0xfff, 0, `seed ${seed}`);
      const saved = JSON.parse(JSON.stringify(fn.save()));
      const before = fn.barAddress(2);
      fn.reset();
      assert.deepEqual(fn.config, powerOn, `seed ${seed}`);
      fn.restore(saved);
      assert.equal(fn.barAddress(2), before, `seed ${seed}`);
    }
  }
});
