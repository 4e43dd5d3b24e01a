import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import type { DiskLimits } from "../config.ts";
import { ManualClock } from "../devices/test-support.ts";
import { createSegmentList, GuestMemory } from "../memory/guest-memory.ts";
import { RamDisk } from "../virtio/testing/ram-disk.ts";
import { LimitedDisk } from "./limited-disk.ts";

function setUp(limits: DiskLimits) {
  const memory = GuestMemory.forTest(16 * MiB);
  const inner = new RamDisk(memory, 4 * MiB);
  const clock = new ManualClock();
  const disk = new LimitedDisk(inner, limits, clock);
  const done: { readonly atMs: number; readonly number: number }[] = [];
  let begun = 0;
  const read = (bytes: number) => {
    const list = createSegmentList(1);
    list.count = 1;
    list.length[0] = bytes;
    const number = begun++;
    disk.read(0, list, (result) => {
      assert.equal(result, 0);
      done.push({ atMs: clock.monotonicMs(), number });
    });
    // The caller's list is its own again.
    list.length[0] = 0;
  };
  return { inner, clock, disk, done, read };
}

test("reads beyond the rate wait, in order, and none is lost", () => {
  const { clock, done, read } = setUp({ bytesPerSecond: 1 * MiB });
  const startMs = clock.monotonicMs();
  for (let i = 0; i < 64; i++) read(64 * 1024);
  assert.ok(done.length > 0 && done.length < 4, `${done.length} at once`);
  clock.advance(10_000);
  assert.deepEqual(
    done.map(({ number }) => number),
    Array.from({ length: 64 }, (_, i) => i),
  );
  const tookMs = (done.at(-1)?.atMs ?? 0) - startMs;
  assert.ok(tookMs > 3700 && tookMs < 4000, `4 MiB took ${tookMs} ms`);
});

test("operations are limited whatever their size, flushes are not", () => {
  const { inner, clock, disk, done, read } = setUp({ operationsPerSecond: 100 });
  for (let i = 0; i < 50; i++) read(512);
  disk.flush(() => {});
  assert.ok(inner.calls.includes("flush"));
  clock.advance(200);
  assert.ok(done.length >= 28 && done.length <= 31, `${done.length} after 200 ms`);
  clock.advance(300);
  assert.equal(done.length, 50);
});

test("a limit that is changed or lifted counts at once", () => {
  const { clock, disk, done, read } = setUp({ operationsPerSecond: 1 });
  for (let i = 0; i < 20; i++) read(512);
  assert.equal(done.length, 1);
  disk.setLimits({ operationsPerSecond: 10 });
  clock.advance(1000);
  assert.ok(done.length >= 10 && done.length <= 12, `${done.length}`);
  disk.setLimits({});
  assert.equal(done.length, 20);
});

test("generated requests never get more than the rate and one burst allow", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const rate = 256 * 1024;
  const { inner, clock, read } = setUp({ bytesPerSecond: rate });
  const startMs = clock.monotonicMs();
  let moved = 0;
  let largest = 0;
  for (let i = 0; i < 2000; i++) {
    const bytes = 512 * (1 + random.below(128));
    largest = Math.max(largest, bytes);
    read(bytes);
    if (random.below(3) === 0) clock.advance(random.below(500));
    for (const call of inner.calls) moved += Number(call.split("+")[1]);
    inner.calls.length = 0;
    const allowed = (rate * (clock.monotonicMs() - startMs)) / 1000 + rate / 10 + largest;
    assert.ok(moved <= allowed, `seed ${seed}: ${moved} bytes where ${allowed} are allowed`);
  }
});
