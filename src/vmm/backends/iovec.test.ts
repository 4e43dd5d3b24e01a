import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { IovecArray } from "./iovec.ts";

function ranges(iovec: IovecArray): [number, number][] {
  return Array.from({ length: iovec.count }, (_, i) => {
    const [low, high, length] = iovec.words.subarray(4 * i) as unknown as [number, number, number];
    return [high * 2 ** 32 + low, length];
  });
}

test("addresses keep their high half", () => {
  const iovec = new IovecArray();
  iovec.add(0x7f12_3456_7000, 512);
  assert.deepEqual(ranges(iovec), [[0x7f12_3456_7000, 512]]);
  iovec.advance(100);
  assert.deepEqual(ranges(iovec), [[0x7f12_3456_7064, 412]]);
});

test("advancing step by step covers every byte once, in order", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  for (let round = 0; round < 50; round++) {
    const iovec = new IovecArray();
    const expected: number[] = [];
    for (let i = random.below(40); i >= 0; i--) {
      const address = 2 ** 32 * random.below(3) + 0xffff_ff00 + random.below(512);
      const length = 1 + random.below(20);
      iovec.add(address, length);
      for (let byte = 0; byte < length; byte++) expected.push(address + byte);
    }
    const seen: number[] = [];
    while (iovec.totalBytes > 0) {
      const step = 1 + random.below(Math.min(iovec.totalBytes, 30));
      const front = ranges(iovec).flatMap(([address, length]) =>
        Array.from({ length }, (_, i) => address + i),
      );
      assert.equal(front.length, iovec.totalBytes, `seed ${seed}`);
      seen.push(...front.slice(0, step));
      iovec.advance(step);
    }
    assert.equal(iovec.count, 0);
    assert.deepEqual(seen, expected, `seed ${seed}`);
  }
});

test("the front of a list is cut at a limit, between ranges", () => {
  const iovec = new IovecArray();
  for (const length of [100, 50, 50, 1]) iovec.add(0x1000, length);
  assert.equal(iovec.countWithin(1000), 4);
  assert.equal(iovec.countWithin(200), 3);
  assert.equal(iovec.countWithin(199), 2);
  assert.equal(iovec.countWithin(99), 1);
});
