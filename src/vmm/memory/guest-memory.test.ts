import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, hostVirtual, MiB } from "../../base/addresses.ts";
import { GuestMemory, layoutRam, type MemoryRegion } from "./guest-memory.ts";

/** Like the real thing but with small buffers where the test touches memory: windows of 5 GiB do not fit a test. */
function sparse(sizeBytes: number): GuestMemory {
  const regions: MemoryRegion[] = layoutRam(sizeBytes).map((r) => ({
    ...r,
    host: hostVirtual(0x1000 + r.start),
  }));
  return new GuestMemory(regions, (_r, _o, size) => new ArrayBuffer(size));
}

test("RAM is split around the PCI hole", () => {
  assert.deepEqual(layoutRam(128 * MiB), [{ start: 0, sizeBytes: 128 * MiB }]);
  assert.deepEqual(layoutRam(5 * GiB), [
    { start: 0, sizeBytes: 3 * GiB },
    { start: 4 * GiB, sizeBytes: 2 * GiB },
  ]);
});

test("what lies outside RAM or reaches over its end is not contained", () => {
  const memory = sparse(2 * MiB);
  assert.equal(memory.contains(0, 2 * MiB), true);
  assert.equal(memory.contains(1, 2 * MiB), false);
  assert.equal(memory.contains(2 * MiB, 0), true);
  assert.equal(memory.contains(2 ** 60, 1), false);
  assert.equal(memory.contains(Number.NaN, 1), false);
  assert.equal(memory.contains(-1, 1), false);
  assert.equal(memory.view(2 * MiB - 1, 2), null);
  assert.throws(() => memory.read(2 * MiB - 1, 2), /not RAM/);
});

test("an access across a window boundary is split and arrives whole", () => {
  const memory = sparse(GiB + MiB);
  const data = Uint8Array.from({ length: 64 }, (_, i) => i);
  memory.write(GiB - 10, data);
  assert.deepEqual(memory.read(GiB - 10, 64), data);
  assert.equal(memory.view(GiB - 10, 64), null);
  assert.equal(memory.view(GiB - 10, 10)?.[9], 9);
});

test("host addresses follow their own region above 4 GiB", () => {
  const regions = layoutRam(3 * GiB + MiB).map((r) => ({ ...r, host: hostVirtual(2 ** 40 + r.start) }));
  const memory = new GuestMemory(regions, () => new ArrayBuffer(0));
  assert.equal(memory.hostAddress(4 * GiB + 5), 2 ** 40 + 4 * GiB + 5);
  assert.throws(() => memory.hostAddress(3 * GiB));
});
