import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../base/random.ts";
import { encodeAttributes } from "../sys/netlink/messages.ts";
import { isPowerButton } from "./acpi-events.ts";

function event(deviceClass: string): Uint8Array {
  const event = new Uint8Array(44);
  event.set(Array.from(deviceClass, (c) => c.charCodeAt(0)));
  return Uint8Array.of(1, 1, 0, 0, ...encodeAttributes([[1, event]]));
}

test("the power button is told from other devices", () => {
  const body = event("button/power");
  assert.equal(isPowerButton({ type: 24, sequence: 0, body }), true);
  assert.equal(isPowerButton({ type: 24, sequence: 0, body: event("button/lid") }), false);
});

test("no bytes break it", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  for (let i = 0; i < 2000; i++) {
    const body = event("button/power").slice();
    for (let n = random.below(6); n > 0; n--) body[random.below(body.length)] = random.u32();
    const cut = body.subarray(0, random.below(body.length + 1));
    assert.doesNotThrow(() => isPowerButton({ type: 24, sequence: 0, body: cut }), `seed ${seed}, case ${i}`);
  }
});
