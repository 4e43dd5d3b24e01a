import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "./devices/test-support.ts";
import { Typist } from "./typist.ts";

function setUp() {
  const clock = new ManualClock();
  const sink = {
    settled: true,
    typed: [] as number[],
    key: (keycode: number, down: boolean) => sink.typed.push(down ? keycode : -keycode),
  };
  return { clock, sink, typist: new Typist(sink, clock) };
}

test("chords go down in order and up in reverse, one key at a time, chord after chord", () => {
  const { clock, sink, typist } = setUp();
  typist.type([[29, 56, 111], [30]]);
  typist.type([[42, 31]]);
  assert.deepEqual(sink.typed, [29]);
  clock.advance(20);
  assert.deepEqual(sink.typed, [29, 56]);
  clock.advance(1000);
  assert.deepEqual(sink.typed, [29, 56, 111, -111, -56, -29, 30, -30, 42, 31, -31, -42]);
  assert.equal(clock.pending, 0, "nothing goes on afterwards");
  typist.type([[1]]);
  clock.advance(1000);
  assert.deepEqual(sink.typed.slice(-2), [1, -1]);
});

test("it waits for a guest that reads slowly, and lets go of everything where one reads nothing", () => {
  const { clock, sink, typist } = setUp();
  typist.type([[42, 30], [31]]);
  sink.settled = false;
  clock.advance(4000);
  assert.deepEqual(sink.typed, [42]);
  sink.settled = true;
  clock.advance(20);
  sink.settled = false;
  clock.advance(6000);
  assert.deepEqual(sink.typed, [42, 30, -42, -30]);
  assert.equal(clock.pending, 0);
  sink.settled = true;
  typist.type([[32]]);
  clock.advance(100);
  assert.deepEqual(sink.typed.slice(4), [32, -32]);
});

test("what waits is bounded: too much is refused as a whole", () => {
  const { clock, sink, typist } = setUp();
  const text = new Array(256).fill([42, 30]);
  for (let i = 0; i < 4; i++) typist.type(text);
  assert.throws(() => typist.type(text), { code: "keys_busy" });
  clock.advance(200_000);
  assert.equal(sink.typed.length, 4096);
  typist.type(text);
});
