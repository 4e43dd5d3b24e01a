import assert from "node:assert/strict";
import { test } from "node:test";
import { constants, deflateRawSync } from "node:zlib";
import { inflate } from "./inflate.ts";
import { SeededRandom, testSeed } from "./random.ts";

/** From noise to repetitions. */
function sample(random: SeededRandom): Uint8Array {
  const data = new Uint8Array(random.below(70_000));
  const values = random.pick([1, 2, 20, 256]);
  for (let i = 0; i < data.length; i++) data[i] = random.below(values);
  for (let k = random.below(20); k > 0 && data.length > 0; k--) {
    data.copyWithin(random.below(data.length), random.below(data.length), random.below(data.length));
  }
  return data;
}

test("what zlib packs comes out again, by every strategy and level", () => {
  const random = new SeededRandom(testSeed());
  const { Z_DEFAULT_STRATEGY, Z_FILTERED, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE } = constants;
  for (let i = 0; i < 60; i++) {
    const data = sample(random);
    const strategy = random.pick([Z_DEFAULT_STRATEGY, Z_FILTERED, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE]);
    const packed = deflateRawSync(data, { level: random.below(10), strategy });
    const out = new Uint8Array(data.length);
    // What follows the data is not looked at.
    inflate(Buffer.concat([packed, Buffer.alloc(random.below(600), 0xa5)]), out);
    assert.deepEqual(out, data, `seed ${random.seed}`);
  }
});

test("a target of another size is an error", () => {
  const packed = deflateRawSync(new Uint8Array(1000).fill(7));
  for (const size of [0, 999, 1001]) {
    assert.throws(() => inflate(packed, new Uint8Array(size)), { code: "bad_data" });
  }
});

test("damaged and cut data are an error or other bytes, and never more", () => {
  const random = new SeededRandom(testSeed());
  for (let i = 0; i < 3000; i++) {
    const data = new Uint8Array(random.below(300)).map(() => random.below(7));
    const packed = new Uint8Array(deflateRawSync(data));
    for (let k = random.below(3); k >= 0; k--) packed[random.below(packed.length)] = random.below(256);
    const cut = random.below(3) === 0 ? packed.subarray(0, random.below(packed.length)) : packed;
    try {
      inflate(cut, new Uint8Array(data.length));
    } catch (error) {
      assert.equal((error as { code?: string }).code, "bad_data", `seed ${random.seed}: ${error}`);
    }
  }
});
