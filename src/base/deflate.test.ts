import assert from "node:assert/strict";
import { test } from "node:test";
import { constants, inflateRawSync, inflateSync } from "node:zlib";
import { Deflater, deflatedMax, ZLIB_HEADER } from "./deflate.ts";
import { SeededRandom, testSeed } from "./random.ts";

const deflater = new Deflater();

function deflated(input: Uint8Array): Uint8Array {
  const out = new Uint8Array(deflatedMax(input.length));
  const end = deflater.deflate(input, input.length, out, 0);
  assert.ok(end <= out.length, `${end} bytes for ${input.length}`);
  return out.subarray(0, end);
}

function inflated(stream: Uint8Array): Uint8Array {
  return inflateRawSync(stream, { finishFlush: constants.Z_SYNC_FLUSH });
}

test("zlib inflates what was deflated: every match length, distances up to the window, and beyond", () => {
  for (let length = 0; length <= 600; length++) {
    const input = new Uint8Array(length).fill(7);
    assert.deepEqual(inflated(deflated(input)), Buffer.from(input), `${length} equal bytes`);
  }
  for (let gap = 1; gap < 40_000; gap += gap < 40 ? 1 : 997) {
    const input = new Uint8Array(gap + 300);
    for (const at of [0, gap]) input.set([1, 2, 3, 250, 251, 252, 253], at);
    assert.deepEqual(inflated(deflated(input)), Buffer.from(input), `a gap of ${gap}`);
  }
});

test("zlib inflates generated inputs, from noise to repetitions", () => {
  const random = new SeededRandom(testSeed());
  for (let round = 0; round < 300; round++) {
    const input = new Uint8Array(random.below(5000));
    const alphabet = random.pick([1, 2, 3, 16, 256]);
    for (let i = 0; i < input.length; ) {
      if (i > 0 && random.below(3) === 0) {
        const from = random.below(i);
        for (let n = random.below(400); n >= 0 && i < input.length; n--, i++)
          input[i] = input[from + (i % (i - from))] ?? 0;
      } else {
        input[i++] = random.below(alphabet);
      }
    }
    assert.deepEqual(inflated(deflated(input)), Buffer.from(input), `seed ${random.seed}, round ${round}`);
  }
});

test("calls in a row make one zlib stream", () => {
  const parts = ["one, one, one", "", "two", "one, one, one"].map((text) => Buffer.from(text));
  const stream = Buffer.concat([ZLIB_HEADER, ...parts.map(deflated)]);
  assert.deepEqual(inflateSync(stream, { finishFlush: constants.Z_SYNC_FLUSH }), Buffer.concat(parts));
});
