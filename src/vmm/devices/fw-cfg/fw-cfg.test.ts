import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "../../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import { Port } from "../../platform.ts";
import { exerciseRegisters } from "../test-support.ts";
import { DmaAccess, DmaControl, FileEntry, FwCfgKey, FwCfgOffset } from "./bits.ts";
import { FwCfg } from "./fw-cfg.ts";

function setUp() {
  const memory = GuestMemory.forTest(2 * MiB);
  const device = new FwCfg(memory);
  device.add(FwCfgKey.cpuCount, Uint8Array.of(3, 0));
  device.addFile("etc/one", Uint8Array.of(1, 2, 3, 4, 5));
  let made = 0;
  device.addFile("etc/late", () => Uint8Array.of(++made, 0xaa), 2);
  const select = (key: number) => device.write(FwCfgOffset.selector, 2, key);
  const readBytes = (count: number) => Array.from({ length: count }, () => device.read(FwCfgOffset.data, 1));
  const swapped = (value: number) => new DataView(Uint32Array.of(value).buffer).getUint32(0, false);
  const dma = (at: number, request: { control: number; length: number; address: number }) => {
    memory.write(at, DmaAccess.encode(request));
    device.write(FwCfgOffset.dmaHigh, 4, 0);
    device.write(FwCfgOffset.dmaLow, 4, swapped(at));
    return DmaAccess.decode(memory.read(at, DmaAccess.size)).control;
  };
  return { memory, device, select, readBytes, dma };
}

test("signature, version and items are read byte by byte, and zeroes behind their ends", () => {
  const { device, select, readBytes } = setUp();
  assert.deepEqual(readBytes(5), [...Buffer.from("QEMU"), 0]);
  select(FwCfgKey.interfaceVersion);
  assert.deepEqual(readBytes(4), [3, 0, 0, 0]);
  select(FwCfgKey.cpuCount);
  assert.deepEqual(readBytes(4), [3, 0, 0, 0]);
  select(0x7777);
  assert.deepEqual(readBytes(2), [0, 0]);
  assert.equal(device.read(FwCfgOffset.dmaHigh, 4), Buffer.from("QEMU").readUInt32LE());
  assert.equal(device.read(FwCfgOffset.dmaLow, 4), Buffer.from(" CFG").readUInt32LE());
});

test("the directory names every file with its size and key; a file made late is made once", () => {
  const { select, readBytes } = setUp();
  select(FwCfgKey.fileDirectory);
  assert.deepEqual(readBytes(4), [0, 0, 0, 2]);
  const [one, late] = [0, 1].map(() => FileEntry.decode(Uint8Array.from(readBytes(FileEntry.size))));
  assert.deepEqual([one?.name, one?.size, late?.name, late?.size], ["etc/one", 5, "etc/late", 2]);
  for (let i = 0; i < 2; i++) {
    select(late?.select as number);
    assert.deepEqual(readBytes(3), [1, 0xaa, 0]);
  }
});

test("DMA selects, skips and reads, fills up with zeroes, and refuses writes and what is not RAM", () => {
  const { memory, readBytes, dma } = setUp();
  const file = (FwCfgKey.firstFile << 16) >>> 0;
  memory.write(0x2000, new Uint8Array(8).fill(0xee));
  assert.equal(
    dma(0x1000, { control: file | DmaControl.select | DmaControl.skip, length: 2, address: 0 }),
    0,
  );
  assert.equal(dma(0x1000, { control: DmaControl.read, length: 2, address: 0x2000 }), 0);
  assert.deepEqual([...memory.read(0x2000, 3)], [3, 4, 0xee]);
  assert.deepEqual(readBytes(1), [5], "ports go on where DMA ended");
  assert.equal(dma(0x1000, { control: file | DmaControl.select, length: 0, address: 0 }), 0);
  assert.equal(dma(0x1000, { control: DmaControl.read, length: 7, address: 0x2000 }), 0);
  assert.deepEqual([...memory.read(0x2000, 8)], [1, 2, 3, 4, 5, 0, 0, 0xee]);
  for (const request of [
    { control: DmaControl.write, length: 1, address: 0x2000 },
    { control: DmaControl.read, length: 4, address: 2 * MiB - 2 },
    { control: DmaControl.read, length: 4, address: 2 ** 60 },
    { control: DmaControl.read, length: 0xffff_ffff, address: 0 },
  ]) {
    assert.equal(dma(0x1000, request), DmaControl.error);
  }
});

test("random accesses never throw, and a saved device is restored exactly, in the middle of an item too", () => {
  const random = new SeededRandom(testSeed());
  const { memory, device, select, readBytes } = setUp();
  exerciseRegisters(random, device, Port.fwCfg.size, 20_000, () => {
    if (random.below(4) > 0) return;
    const at = random.pick([0, 0x1000, 2 * MiB - 8]);
    if (at < MiB) {
      const control = (random.below(0x30) << 16) | random.below(0x20);
      memory.write(at, DmaAccess.encode({ control, length: random.u32(), address: random.u32() }));
    }
    device.write(FwCfgOffset.dmaLow, 4, new DataView(Uint32Array.of(at).buffer).getUint32(0, false));
  });
  device.reset();
  select(FwCfgKey.firstFile);
  readBytes(2);
  const saved = device.save();
  device.reset();
  device.restore(saved);
  assert.deepEqual(readBytes(4), [3, 4, 5, 0]);
});
