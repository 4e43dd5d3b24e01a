/** Event loop, timers, clocks, signals. */
import { monotonicMs, wallMs } from "../clock.ts";
import { close, pipe, writeAll } from "../fs.ts";
import { EPOLLHUP, EPOLLIN } from "../loop.ts";
import { getpid, kill } from "../process.ts";
import { fillRandom } from "../random.ts";
import { SIGUSR2, watchSignals } from "../signals.ts";
import { equal, ok, runTests, test } from "./harness.ts";

test("timers fire in the order they are due, never early", async (loop) => {
  const order: string[] = [];
  const startMs = monotonicMs();
  loop.after(200, () => order.push("c"));
  loop.after(10, () => order.push("a"));
  loop.after(10, () => order.push("b"));
  const cancel = loop.after(100, () => order.push("never"));
  cancel();
  await loop.sleep(250);
  ok(monotonicMs() - startMs >= 250, "slept too short");
  equal(order, ["a", "b", "c"]);
});

test("a timer may add one that is due earlier than the next", async (loop) => {
  const order: number[] = [];
  loop.after(300, () => order.push(300));
  loop.after(5, () => {
    order.push(5);
    loop.after(5, () => order.push(10));
  });
  await loop.sleep(350);
  equal(order, [5, 10, 300]);
});

test("every repeats until it is cancelled, also from inside", async (loop) => {
  let count = 0;
  await new Promise<void>((resolve) => {
    const cancel = loop.every(5, () => {
      count++;
      if (count < 3) return;
      cancel();
      resolve();
    });
  });
  await loop.sleep(30);
  equal(count, 3);
});

test("a watch reports data and hang-up, and nothing after close", async (loop) => {
  const [input, output] = pipe();
  const seen: number[] = [];
  const watch = loop.watch(input, EPOLLIN, (events) => {
    seen.push(events);
    watch.setEvents(0);
  });
  await loop.sleep(1);
  equal(seen, []);
  writeAll(output, Uint8Array.of(1));
  await loop.sleep(5);
  equal(seen, [EPOLLIN]);
  close(output);
  await loop.sleep(5);
  equal(seen, [EPOLLIN], "reports while disabled");
  watch.setEvents(EPOLLIN);
  await loop.sleep(5);
  equal(seen[1], EPOLLIN | EPOLLHUP);
  watch.close();
  close(input);
});

test("a watch closed by another callback of the same batch is not called", async (loop) => {
  const first = pipe();
  const second = pipe();
  let calls = 0;
  const watches = [first, second].map(([input]) =>
    loop.watch(input, EPOLLIN, () => {
      calls++;
      for (const watch of watches) watch.close();
    }),
  );
  for (const [, output] of [first, second]) writeAll(output, Uint8Array.of(1));
  await loop.sleep(5);
  equal(calls, 1);
  for (const fd of [...first, ...second]) close(fd);
});

test("posted calls and promise jobs run before the loop waits", async (loop) => {
  const order: string[] = [];
  const startMs = monotonicMs();
  await new Promise<void>((resolve) => {
    loop.post(() => {
      order.push("posted");
      Promise.resolve().then(() => {
        order.push("job");
        loop.post(resolve);
      });
    });
  });
  equal(order, ["posted", "job"]);
  ok(monotonicMs() - startMs < 1000, "the loop waited");
});

test("an error handler receives what callbacks throw", async (loop) => {
  const errors: unknown[] = [];
  loop.onError = (error) => errors.push((error as Error).message);
  loop.post(() => {
    throw new Error("from a callback");
  });
  await loop.sleep(1);
  loop.onError = null;
  equal(errors, ["from a callback"]);
});

test("a signal arrives as a call with its sender", async (loop) => {
  const seen: number[][] = [];
  const stop = watchSignals(loop, [SIGUSR2], (signal, sender) => seen.push([signal, sender]));
  ok(kill(getpid(), SIGUSR2), "kill failed");
  await loop.sleep(5);
  stop();
  equal(seen, [[SIGUSR2, getpid()]]);
});

test("the wall clock agrees with the engine's", () => {
  ok(Math.abs(wallMs() - Date.now()) < 1000, "clocks differ");
});

test("random bytes fill the whole target", () => {
  const target = new Uint8Array(1024);
  fillRandom(target);
  ok(new Set(target.subarray(512)).size > 64, "the second half is not random");
});

runTests();
