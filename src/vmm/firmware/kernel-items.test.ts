import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { type BootFile, bootFileOf } from "../boot/boot-file.ts";
import { DmaAccess, DmaControl, FwCfgKey, FwCfgOffset } from "../devices/fw-cfg/bits.ts";
import { FwCfg } from "../devices/fw-cfg/fw-cfg.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { addKernelItems } from "./kernel-items.ts";

const BUFFER = MiB;

function setUp(kernel: BootFile, initrd: BootFile | null = null, commandLine = "") {
  const memory = GuestMemory.forTest(4 * MiB);
  const device = new FwCfg(memory);
  addKernelItems(device, { kernel, initrd, commandLine });
  const select = (key: number) => device.write(FwCfgOffset.selector, 2, key);
  const port = (count: number) => Array.from({ length: count }, () => device.read(FwCfgOffset.data, 1));
  const dma = (control: number, length: number, address = BUFFER) => {
    memory.write(0x1000, DmaAccess.encode({ control: control >>> 0, length, address }));
    device.write(FwCfgOffset.dmaLow, 4, 0x0010_0000);
    return DmaAccess.decode(memory.read(0x1000, DmaAccess.size)).control;
  };
  const whole = (sizeKey: number, dataKey: number) => {
    select(sizeKey);
    const size = Buffer.from(port(4)).readUInt32LE();
    assert.equal(dma((dataKey << 16) | DmaControl.select | DmaControl.read, size), 0);
    return Buffer.from(memory.read(BUFFER, size));
  };
  return { memory, device, select, port, dma, whole };
}

function bzImage(size: number, setupSectors: number): Uint8Array<ArrayBuffer> {
  const random = new SeededRandom(7);
  const image = Uint8Array.from({ length: size }, () => random.below(256));
  image[0x1f1] = setupSectors;
  image.set(Buffer.from("HdrS"), 0x202);
  return image;
}

test("firmware that puts the parts together has the very file, its initrd and its command line", () => {
  for (const [image, setupBytes] of [
    [bzImage(70_001, 27), 28 * 512],
    [bzImage(70_001, 0), 5 * 512],
    [bzImage(2000, 200), 2000],
    [Uint8Array.of(0x4d, 0x5a, 3), 0],
    [new Uint8Array(5000).fill(9), 0],
  ] as const) {
    const { whole } = setUp(bootFileOf("k", image), bootFileOf("i", Uint8Array.of(1, 2, 3)), "console=ttyS0");
    const setup = whole(FwCfgKey.setupSize, FwCfgKey.setupData);
    assert.equal(setup.length, setupBytes);
    const rest = whole(FwCfgKey.kernelSize, FwCfgKey.kernelData);
    assert.deepEqual(Buffer.concat([setup, rest]), Buffer.from(image));
    assert.deepEqual([...whole(FwCfgKey.initrdSize, FwCfgKey.initrdData)], [1, 2, 3]);
    assert.equal(
      whole(FwCfgKey.commandLineSize, FwCfgKey.commandLineData).toString("latin1"),
      "console=ttyS0\0",
    );
  }
});

test("without an initrd its size is zero", () => {
  const { whole } = setUp(bootFileOf("k", bzImage(9000, 3)));
  assert.equal(whole(FwCfgKey.initrdSize, FwCfgKey.initrdData).length, 0);
});

test("a file that cannot be read any more is a DMA error, and zeroes at the port", () => {
  const file = { ...bootFileOf("k", bzImage(9000, 3)) };
  const { select, port, dma } = setUp({
    ...file,
    read: (offset, target) => {
      if (offset + target.length > 8192) throw new Error("became shorter");
      file.read(offset, target);
    },
  });
  const read = (FwCfgKey.kernelData << 16) | DmaControl.select | DmaControl.read;
  assert.equal(dma(read, 1024), 0);
  assert.equal(dma(read, 9000 - 2048), DmaControl.error);
  select(FwCfgKey.kernelData);
  assert.equal(dma(DmaControl.skip, 8192 - 2048), 0);
  assert.deepEqual(port(3), [0, 0, 0]);
});

test("hostile selectors, lengths and places read what the file has there, or zeroes, and never beyond it", () => {
  const random = new SeededRandom(testSeed());
  const image = bzImage(20_000, 3);
  const bounded: BootFile = {
    name: "k",
    sizeBytes: image.length,
    read: (offset, target) => {
      assert.ok(offset >= 0 && offset + target.length <= image.length);
      target.set(image.subarray(offset, offset + target.length));
    },
  };
  const { memory, device, select, port, dma } = setUp(bounded);
  const kernel = image.subarray(2048);
  let at = 0;
  select(FwCfgKey.kernelData);
  for (let i = 0; i < 3000; i++) {
    const length = random.pick([1, 7, 4096, 5000, 30_000, 0x00ff_ffff, 0xffff_ffff]);
    switch (random.below(5)) {
      case 0:
        select(FwCfgKey.kernelData);
        at = 0;
        break;
      case 1: {
        const count = random.below(20);
        const expected = Array.from({ length: count }, (_, k) => kernel[at + k] ?? 0);
        assert.deepEqual(port(count), expected, `seed ${random.seed}`);
        at = Math.min(at + count, kernel.length);
        break;
      }
      case 2:
        if (dma(DmaControl.skip, length) === 0) at = Math.min(at + length, kernel.length);
        break;
      case 3: {
        const ok = length <= 30_000;
        assert.equal(dma(DmaControl.read, length), ok ? 0 : DmaControl.error);
        if (!ok) break;
        const expected = new Uint8Array(length);
        expected.set(kernel.subarray(at, at + length));
        assert.deepEqual(
          Buffer.from(memory.read(BUFFER, length)),
          Buffer.from(expected),
          `seed ${random.seed}`,
        );
        at = Math.min(at + length, kernel.length);
        break;
      }
      default: {
        const saved = device.save();
        device.reset();
        device.restore(saved);
      }
    }
  }
});
