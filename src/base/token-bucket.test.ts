import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SeededRandom, testSeed } from "./random.ts";
import { TokenBucket } from "./token-bucket.ts";

describe("a token bucket", () => {
  test("is full at first, and fills at its rate up to its burst", () => {
    const bucket = new TokenBucket(1000, 50, 0);
    bucket.spend(50);
    assert.equal(bucket.waitMs(0), 1);
    assert.equal(bucket.waitMs(1), 0);
    bucket.spend(101); // 100 owed
    assert.equal(bucket.waitMs(1), 101);
    assert.equal(bucket.waitMs(100), 2);
    assert.equal(bucket.waitMs(102), 0);
    assert.equal(bucket.waitMs(1e9), 0);
    bucket.spend(50);
    assert.notEqual(bucket.waitMs(1e9), 0, "a long pause saves up no more than the burst");
  });

  test("lets work through that is larger than the burst, once it has paid for what was before", () => {
    const bucket = new TokenBucket(1000, 1, 0);
    assert.equal(bucket.waitMs(0), 0);
    bucket.spend(5000);
    assert.equal(bucket.waitMs(0), 5000);
    assert.equal(bucket.waitMs(5000), 0);
  });

  test("takes a new limit while it is in use", () => {
    const bucket = new TokenBucket(1000, 1000, 0);
    bucket.spend(3000); // 2000 owed
    bucket.change(4000, 10, 1000); // 1000 owed
    assert.equal(bucket.waitMs(1000), 251);
    assert.equal(bucket.waitMs(2000), 0);
    bucket.spend(10);
    assert.notEqual(bucket.waitMs(2000), 0, "the new burst counts");
    assert.throws(() => bucket.change(0, 1, 2000), RangeError);
    assert.throws(() => new TokenBucket(1, Number.NaN, 0), RangeError);
  });

  test("gives nothing for a clock that goes back", () => {
    const bucket = new TokenBucket(1000, 1, 1000);
    bucket.spend(101);
    assert.equal(bucket.waitMs(1000), 101);
    assert.equal(bucket.waitMs(0), 101);
    assert.equal(bucket.waitMs(1000), 101);
  });

  test("keeps its bound in every stretch of time, and wastes nothing (generated)", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    for (let round = 0; round < 200; round++) {
      const rate = 1 + random.below(10 ** (1 + random.below(9)));
      const burst = 1 + random.below(10 ** (1 + random.below(7)));
      const largest = 1 + random.below(2 * burst);
      const bucket = new TokenBucket(rate, burst, 0);
      const spent: { at: number; amount: number }[] = [];
      let now = 0;
      let greedySince = 0;
      let greedyAmount = 0;
      for (let step = 0; step < 60; step++) {
        const wait = bucket.waitMs(now);
        if (wait > 0) {
          assert.ok(Number.isInteger(wait), `seed ${seed}, round ${round}`);
          assert.ok(
            bucket.waitMs(now + wait - 1.01) > 0,
            `seed ${seed}, round ${round}: no earlier than it says`,
          );
          now += wait;
          // Rounding may cost a millisecond more.
          assert.ok(bucket.waitMs(now) <= 1, `seed ${seed}, round ${round}`);
          continue;
        }
        if (random.below(8) === 0) {
          now += random.below(1000) + random.below(1000) / 1000;
          greedySince = now;
          greedyAmount = 0;
          continue;
        }
        const amount = 1 + random.below(largest);
        bucket.spend(amount);
        spent.push({ at: now, amount });
        greedyAmount += amount;
      }
      for (let from = 0; from < spent.length; from++) {
        let sum = 0;
        for (let to = from; to < spent.length; to++) {
          const seconds = ((spent[to]?.at as number) - (spent[from]?.at as number)) / 1000;
          const before = sum;
          sum += spent[to]?.amount as number;
          assert.ok(
            before <= burst + rate * seconds + 1e-6 * sum,
            `seed ${seed}, round ${round}: ${sum} in ${seconds} s at ${rate}/s and a burst of ${burst}`,
          );
        }
      }
      // Who always has work gets the rate: what is left when it stops is less than a millisecond's and what it had to wait for.
      const steps = spent.length;
      const owed = greedyAmount - (rate * (now - greedySince)) / 1000;
      assert.ok(
        owed >= -(steps + 1) * (rate / 1000) - 1e-6 * greedyAmount,
        `seed ${seed}, round ${round}: wasted ${-owed} in ${steps} steps`,
      );
    }
  });
});
