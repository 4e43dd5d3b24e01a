import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { Scrollback } from "./scrollback.ts";

test("the last bytes come back in order, whatever the pieces were", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  for (let round = 0; round < 100; round++) {
    const capacity = 1 + random.below(50);
    const scrollback = new Scrollback(capacity);
    const all: number[] = [];
    for (let i = random.below(12); i > 0; i--) {
      const piece = random.fill(new Uint8Array(random.below(80)));
      scrollback.append(piece);
      all.push(...piece);
      assert.deepEqual([...scrollback.content()], all.slice(-capacity), `seed ${seed}`);
    }
  }
});
