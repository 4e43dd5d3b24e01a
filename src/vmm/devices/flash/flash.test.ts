import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { exerciseRegisters } from "../test-support.ts";
import { BLOCK_BYTES, FlashCommand, FlashStatus } from "./bits.ts";
import { type FlashStore, NorFlash } from "./flash.ts";

const SIZE = 4 * BLOCK_BYTES;

/** A file on a disk whose sectors are written whole or not at all, and that knows what it held before each write. */
class TestStore implements FlashStore {
  readonly file = new Uint8Array(SIZE).fill(0xff);
  /** Content before the last write. */
  before = this.file.slice();
  writes = 0;
  broken = false;

  write(offset: number, bytes: Uint8Array): boolean {
    this.writes++;
    if (this.broken) return false;
    this.before = this.file.slice();
    this.file.set(bytes, offset);
    return true;
  }
}

function setUp() {
  const content = new Uint8Array(SIZE).fill(0xff);
  const store = new TestStore();
  const shown: boolean[] = [];
  const flash = new NorFlash({ content, store, onArray: (array) => shown.push(array) });
  const command = (offset: number, ...bytes: number[]) => {
    for (const byte of bytes) flash.write(offset, 1, byte);
  };
  const program = (offset: number, ...bytes: number[]) => {
    bytes.forEach((byte, i) => {
      command(offset + i, FlashCommand.program, byte);
    });
    command(offset + bytes.length - 1, FlashCommand.readArray);
  };
  return { content, store, shown, flash, command, program };
}

test("OVMF's probe sees flash: neither RAM nor ROM", () => {
  const { flash, command } = setUp();
  command(0, FlashCommand.clearStatus);
  assert.equal(flash.read(0, 1), 0xff, "not RAM");
  command(0, FlashCommand.readStatus);
  assert.equal(flash.read(0, 1), 0, "a cleared status");
  command(0, FlashCommand.readArray);
  assert.equal(flash.read(0, 1), 0xff);
});

test("bytes are programmed and blocks erased; programming never sets bits", () => {
  const { flash, content, store, command, program } = setUp();
  program(5000, 0x12, 0x34, 0x56);
  assert.deepEqual([...content.subarray(4999, 5004)], [0xff, 0x12, 0x34, 0x56, 0xff]);
  program(5000, 0xf0);
  assert.equal(content[5000], 0x10);
  flash.write(6000, 1, FlashCommand.program);
  flash.write(6000, 4, 0x04030201);
  command(6000, FlashCommand.readArray);
  assert.equal(flash.read(6000, 4), 0x04030201);
  assert.deepEqual(store.file, content);
  program(0, 1);
  command(5000, FlashCommand.blockErase, FlashCommand.confirm);
  assert.equal(flash.read(0, 1), FlashStatus.ready);
  command(0, FlashCommand.readArray);
  assert.ok(content.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES).every((byte) => byte === 0xff));
  assert.equal(content[0], 1, "the next block is as it was");
  assert.deepEqual(store.file, content);
});

test("a wrong second cycle and a store that fails are told in the status", () => {
  const { flash, content, store, command } = setUp();
  command(0, FlashCommand.blockErase, 0x12);
  assert.equal(flash.read(0, 1), FlashStatus.ready | FlashStatus.eraseError | FlashStatus.programError);
  command(0, FlashCommand.clearStatus, FlashCommand.readStatus);
  assert.equal(flash.read(0, 1), 0);
  store.broken = true;
  command(0, FlashCommand.program, 0);
  assert.equal(flash.read(0, 1), FlashStatus.ready | FlashStatus.programError);
  assert.equal(content[0], 0);
});

test("the array is memory exactly while it is shown", () => {
  const { shown, command, program } = setUp();
  program(0, 1, 2, 3);
  command(0, FlashCommand.readQuery, FlashCommand.readId, FlashCommand.readArray, FlashCommand.readArray);
  assert.deepEqual(shown, [false, true, false, true]);
});

test("query mode shows the common flash interface's table, identifier mode the chip", () => {
  const { flash, command } = setUp();
  command(0, FlashCommand.readQuery);
  assert.deepEqual(
    [0x10, 0x11, 0x12, 0x13].map((at) => flash.read(at, 1)),
    [0x51, 0x52, 0x59, 1],
  );
  assert.equal(flash.read(0x2d, 2), 3, "four blocks");
  assert.equal(flash.read(0x2f, 2) * 256, BLOCK_BYTES);
  assert.equal(flash.read(flash.read(0x15, 2), 1), "P".charCodeAt(0));
  command(0, FlashCommand.readId);
  assert.equal(flash.read(0, 2), 0x1889);
  assert.equal(flash.read(BLOCK_BYTES + 2, 1), 0, "not locked");
});

test("a power cut at any moment leaves all finished batches and at most part of the last", () => {
  const random = new SeededRandom(testSeed());
  for (let round = 0; round < 200; round++) {
    const { flash, content, store, command } = setUp();
    /** Content at the last moment when the guest could know that everything was done. */
    let known = content.slice();
    const steps = 1 + random.below(40);
    for (let i = 0; i < steps; i++) {
      const at = random.below(SIZE);
      if (random.below(4) === 0) command(at, FlashCommand.blockErase, FlashCommand.confirm);
      else
        for (let k = 0; k < 20 && at + k < SIZE; k++)
          command(at + k, FlashCommand.program, random.below(256));
      if (random.below(3) === 0) {
        if (random.below(2) === 0) command(at, FlashCommand.readArray);
        else flash.read(at, 1);
        known = content.slice();
        assert.deepEqual(store.file, known, `what is done is stored, seed ${random.seed}`);
      }
    }
    const stored = store.file.slice();
    flash.flush();
    assert.deepEqual(store.file, content);
    // The write under way at the cut: sectors old or new. All others are as the store had them.
    for (let sector = 0; sector < SIZE; sector += 512) {
      const now = store.file.subarray(sector, sector + 512);
      const old = store.before.subarray(sector, sector + 512);
      if (Buffer.compare(now, old) !== 0) continue;
      assert.deepEqual(now, stored.subarray(sector, sector + 512), `seed ${random.seed}`);
    }
  }
});

test("random accesses never throw, and a saved bank is restored exactly", () => {
  const random = new SeededRandom(testSeed());
  const { flash, content, store } = setUp();
  const bus = {
    ...flash,
    // The bus keeps accesses inside the bank.
    read: (offset: number, size: number) => flash.read(Math.min(offset, SIZE - size), size),
    write: (offset: number, size: number, value: number) =>
      flash.write(Math.min(offset, SIZE - size), size, random.below(3) === 0 ? value : random.pick(COMMANDS)),
    reset: () => flash.reset(),
    save: () => flash.save(),
    restore: (state: ReturnType<NorFlash["save"]>) => flash.restore(state),
  };
  exerciseRegisters(random, bus, SIZE, 20_000);
  flash.flush();
  assert.deepEqual(store.file, content);
});

const COMMANDS = Object.values(FlashCommand);
