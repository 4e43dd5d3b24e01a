import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { MmioBus } from "../../bus/mmio.ts";
import { PciBus } from "../../bus/pci/bus.ts";
import { Port } from "../../platform.ts";
import { exerciseRegisters } from "../test-support.ts";
import { createHostBridge, createLpcBridge, ecamStart, LPC_SLOT } from "./chipset.ts";

function setUp() {
  const places: (number | null)[] = [];
  const bridge = createHostBridge((start) => places.push(start));
  const lpc = createLpcBridge();
  const bus = new PciBus({
    window: { start: 2 ** 31, size: 2 ** 28 },
    mmio: new MmioBus(),
    hostBridge: bridge,
  });
  bus.add(LPC_SLOT, lpc);
  const access = (slot: number, offset: number) =>
    bus.configAddress.write(0, 4, 0x8000_0000 + slot * 0x800 + (offset & 0xfc));
  const read = (slot: number, offset: number, size = 4) => {
    access(slot, offset);
    return bus.configData.read(offset & 3, size);
  };
  const write = (slot: number, offset: number, value: number, size = 4) => {
    access(slot, offset);
    bus.configData.write(offset & 3, size, value);
  };
  return { places, bridge, lpc, read, write };
}

test("OVMF finds a Q35 and an ICH9 with the ACPI registers in place", () => {
  const { read, write } = setUp();
  assert.equal(read(0, 0), 0x29c0_8086);
  assert.equal(read(LPC_SLOT, 0), 0x2918_8086);
  assert.equal(read(LPC_SLOT, 8) >>> 8, 0x06_01_00);
  write(LPC_SLOT, 4, 0, 2);
  assert.equal(read(LPC_SLOT, 4, 2), 7);
  write(LPC_SLOT, 0x40, 0x1234_5678);
  write(LPC_SLOT, 0x44, 0, 1);
  assert.equal(read(LPC_SLOT, 0x40) & ~1, Port.acpiPm.start);
  assert.equal(read(LPC_SLOT, 0x44, 1), 0x80);
  write(LPC_SLOT, 0xf0, 0xfed1_c001);
  assert.equal(read(LPC_SLOT, 0xf0), 0xfed1_c001);
});

test("PCIEXBAR moves configuration space; it is nowhere after power-on and after a reset", () => {
  const { places, bridge, write } = setUp();
  assert.equal(ecamStart(bridge), null);
  write(0, 0x60, 0);
  write(0, 0x64, 0);
  write(0, 0x60, 0xb000_0001);
  write(0, 0x64, 0x8);
  write(0, 0x60, 0xb000_0000);
  assert.deepEqual(places, [null, null, 0xb000_0000, 0x8_b000_0000, null]);
  write(0, 0x60, 1);
  const saved = bridge.save();
  bridge.reset();
  assert.equal(places.at(-1), null);
  bridge.restore(saved);
  assert.equal(places.at(-1), 0x8_0000_0000);
});

test("random accesses never throw, and saved bridges are restored exactly", () => {
  const random = new SeededRandom(testSeed());
  const { places, bridge, lpc } = setUp();
  for (const fn of [bridge, lpc]) {
    const block = {
      read: (offset: number, size: number) => fn.readConfig(offset, size),
      write: (offset: number, size: number, value: number) => fn.writeConfig(offset, size, value),
      reset: () => fn.reset(),
      save: () => fn.save(),
      restore: (state: ReturnType<typeof fn.save>) => fn.restore(state),
    };
    exerciseRegisters(random, block, 256, 10_000);
  }
  for (const place of places) assert.ok(place === null || (place % 2 ** 28 === 0 && place < 2 ** 36));
});
