import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { MmioBus } from "../../bus/mmio.ts";
import { HeaderType0 } from "../../bus/pci/bits.ts";
import { PciBus } from "../../bus/pci/bus.ts";
import { exerciseRegisters, throughJson } from "../test-support.ts";
import { BAR2_BYTES, BochsMmio, Dispi, DispiEnable, Endianness } from "./bits.ts";
import { BochsDisplay } from "./bochs-display.ts";
import { PAGE_BITMAP_BYTES, VIDEO_MEMORY_BYTES, type VideoMemory } from "./screen.ts";

const WINDOW = 0xc000_0000;

/** Memory that notes where it was placed; the host refuses `refused`. */
class TestMemory implements VideoMemory {
  readonly bytes = new Uint8Array(VIDEO_MEMORY_BYTES);
  readonly places: (number | null)[] = [];
  refused = -1;
  logging = false;

  place(address: number | null): boolean {
    this.places.push(address);
    return address !== this.refused;
  }

  setLogging(logging: boolean): void {
    this.logging = logging;
  }

  takeDirty(): void {}
}

function machine() {
  const memory = new TestMemory();
  const display = new BochsDisplay(memory);
  const mmio = new MmioBus();
  const pci = new PciBus({ window: { start: WINDOW, size: 2 ** 29 }, mmio });
  pci.add(27, display.function);
  const dispi = (register: keyof typeof Dispi.offset, value?: number) => {
    const at = BochsMmio.offset.dispi + Dispi.offset[register];
    if (value !== undefined) display.registers.write(at, 2, value);
    return display.registers.read(at, 2);
  };
  return { memory, display, mmio, dispi };
}

test("drivers find the adapter: ids, class, version, memory size, extension registers", () => {
  const { display, dispi } = machine();
  assert.equal(display.function.readConfig(HeaderType0.offset.vendorId, 4), 0x1111_1234);
  assert.equal(display.function.readConfig(HeaderType0.offset.revisionId, 4), 0x0380_0002);
  assert.equal(dispi("id", 0xb0c0) & 0xfff0, 0xb0c0);
  assert.equal(dispi("videoMemory64K") * 65536, VIDEO_MEMORY_BYTES);
  assert.equal(display.registers.read(BochsMmio.offset.extensionSize, 4), 8);
  assert.equal(display.registers.read(BochsMmio.offset.endianness, 4), Endianness.little);
});

test("a picture shows when enabled with 32 bits and inside the memory", () => {
  const { display, dispi } = machine();
  assert.equal(display.mode(), null);
  dispi("xRes", 1024);
  dispi("yRes", 768);
  dispi("bitsPerPixel", 32);
  assert.equal(display.mode(), null);
  dispi("enable", DispiEnable.enabled | 0x40);
  const plain = { width: 1024, height: 768, offset: 0, stride: 1024, bigEndian: false };
  assert.deepEqual(display.mode(), plain);
  assert.equal(display.mode(), display.mode(), "the same object as long as nothing changed");
  dispi("virtualWidth", 2048);
  dispi("yOffset", 3);
  dispi("xOffset", 5);
  assert.equal(dispi("virtualHeight"), VIDEO_MEMORY_BYTES / 4 / 2048);
  display.registers.write(BochsMmio.offset.endianness, 4, Endianness.big);
  assert.deepEqual(display.mode(), { ...plain, stride: 2048, offset: 3 * 2048 + 5, bigEndian: true });
  dispi("yOffset", 2048 - 768);
  assert.notEqual(display.mode(), null);
  dispi("yOffset", 2048 - 767);
  assert.equal(display.mode(), null, "beyond the memory");
  dispi("yOffset", 0);
  dispi("bitsPerPixel", 16);
  assert.equal(display.mode(), null);
  dispi("bitsPerPixel", 32);
  dispi("xRes", 0);
  assert.equal(display.mode(), null);
});

test("the monitor's description is valid and prefers 1280 x 800", () => {
  const { display } = machine();
  const edid = Uint8Array.from({ length: 128 }, (_, i) => display.registers.read(i, 1));
  assert.deepEqual([...edid.subarray(0, 8)], [0, 255, 255, 255, 255, 255, 255, 0]);
  assert.equal(
    edid.reduce((sum, byte) => (sum + byte) & 0xff, 0),
    0,
  );
  const timing = edid.subarray(54) as unknown as number[];
  const [, , hActive = 0, , hHigh = 0, vActive = 0, , vHigh = 0] = timing;
  assert.deepEqual([hActive + (hHigh >> 4) * 256, vActive + (vHigh >> 4) * 256], [1280, 800]);
});

test("the memory moves with BAR 0; where the host refuses, accesses still reach it and are noted", () => {
  const { memory, display, mmio } = machine();
  assert.deepEqual(memory.places, [WINDOW]);
  const moved = 0xd000_0000;
  display.function.writeConfig(HeaderType0.offset.bar0, 4, moved);
  assert.deepEqual(memory.places, [WINDOW, moved]);
  display.function.writeConfig(HeaderType0.offset.command, 2, 0);
  assert.equal(memory.places.at(-1), null);
  display.function.writeConfig(HeaderType0.offset.command, 2, 2);
  const pages = new Uint8Array(PAGE_BITMAP_BYTES).fill(1);
  display.takeDirty(pages);
  assert.ok(
    pages.every((byte) => byte === 0xff),
    "after a move all may have been written",
  );
  display.takeDirty(pages);
  assert.ok(pages.every((byte) => byte === 0));
  mmio.write(moved + 5 * 4096 - 2, 4, 0x1234_5678);
  assert.equal(mmio.read(moved + 5 * 4096 - 2, 4), 0x1234_5678);
  assert.equal(display.pixels[5 * 1024], 0x1234);
  display.takeDirty(pages);
  assert.equal(pages[0], 0b110000);
  display.watch(true);
  assert.ok(memory.logging);
});

test("any accesses in any order: reads stay in range, and save and restore agree", () => {
  const random = new SeededRandom(testSeed());
  const { display } = machine();
  const device = {
    ...display.registers,
    reset: () => display.reset(),
    save: () => display.save(),
    restore: display.restore.bind(display),
  };
  exerciseRegisters(random, device, BAR2_BYTES, 20_000, () => {
    const mode = display.mode();
    if (mode === null) return;
    const { width, height, offset, stride } = mode;
    const inside = width <= stride && offset + (height - 1) * stride + width <= display.pixels.length;
    assert.ok(inside, `${JSON.stringify(mode)}, seed ${random.seed}`);
  });
  for (let i = 0; i < 20_000; i++) {
    const at = BochsMmio.offset.dispi + random.below(Dispi.size);
    display.registers.write(at, random.pick([1, 2]), random.pick([0, 1, 2, 32, 1024, random.below(65536)]));
    const mode = display.mode();
    if (mode !== null) {
      const end = mode.offset + (mode.height - 1) * mode.stride + mode.width;
      assert.ok(end <= display.pixels.length, `seed ${random.seed}`);
    }
  }
});

test("a picture set before saving shows after restoring", () => {
  const one = machine();
  one.display.setMode(640, 480);
  const two = machine();
  two.display.restore(throughJson(one.display.save()));
  assert.deepEqual(two.display.mode(), one.display.mode());
  const bad = { ...one.display.save(), dispi: [256] };
  assert.throws(() => two.display.restore(bad), { code: "bad_state" });
  assert.throws(() => two.display.restore({ ...one.display.save(), pci: undefined }), { code: "bad_state" });
});
