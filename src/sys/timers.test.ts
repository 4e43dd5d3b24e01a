import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../base/random.ts";
import { type Timer, TimerQueue } from "./timers.ts";

test("an empty queue is never due", () => {
  const queue = new TimerQueue();
  assert.equal(queue.nextMs(), Number.POSITIVE_INFINITY);
  assert.equal(queue.takeDue(1e15), null);
});

test("timers due at the same time come in the order they were added", () => {
  const queue = new TimerQueue();
  const order: number[] = [];
  for (let i = 0; i < 20; i++) queue.add(5, () => order.push(i));
  for (let callback = queue.takeDue(5); callback !== null; callback = queue.takeDue(5)) callback();
  assert.deepEqual(
    order,
    Array.from({ length: 20 }, (_, i) => i),
  );
});

test("a cancelled timer is gone; cancelling again, or after it was taken, does nothing", () => {
  const queue = new TimerQueue();
  const first = queue.add(1, () => {});
  const second = queue.add(2, () => {});
  queue.cancel(first);
  queue.cancel(first);
  assert.equal(queue.nextMs(), 2);
  assert.notEqual(queue.takeDue(2), null);
  queue.cancel(second);
  assert.equal(queue.takeDue(1000), null);
});

test("generated: adding, cancelling and taking agree with a sorted list", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const queue = new TimerQueue();
  let model: { id: number; dueMs: number; timer: Timer }[] = [];
  let nowMs = 0;
  let taken = -1;
  for (let id = 0; id < 5000; id++) {
    const action = random.below(10);
    if (action < 5) {
      const dueMs = nowMs + random.below(100);
      const timer = queue.add(dueMs, () => {
        taken = id;
      });
      model.push({ id, dueMs, timer });
    } else if (action < 8 && model.length > 0) {
      const [gone] = model.splice(random.below(model.length), 1);
      if (gone !== undefined) queue.cancel(gone.timer);
    } else {
      nowMs += random.below(20);
      model.sort((a, b) => a.dueMs - b.dueMs || a.id - b.id);
      const due = model.filter((entry) => entry.dueMs <= nowMs);
      for (const entry of due) {
        queue.takeDue(nowMs)?.();
        assert.equal(taken, entry.id, `seed ${seed}`);
      }
      assert.equal(queue.takeDue(nowMs), null, `seed ${seed}`);
      model = model.slice(due.length);
      assert.equal(queue.nextMs(), model[0]?.dueMs ?? Number.POSITIVE_INFINITY, `seed ${seed}`);
    }
  }
});
