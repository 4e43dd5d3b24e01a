import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../base/random.ts";
import {
  decodeAttributes,
  decodeMessages,
  encodeAttributes,
  encodeMessage,
  errorOf,
  u32Of,
} from "./messages.ts";
import { broadcastOf, decodeLink } from "./route.ts";

test("what is encoded is decoded", () => {
  const body = encodeAttributes([
    [3, Uint8Array.of(1, 2, 3)],
    [4, Uint8Array.of(9, 0, 0, 0)],
  ]);
  const bytes = encodeMessage({ type: 16, flags: 5, sequence: 7 }, body);
  const [message] = decodeMessages(bytes);
  assert.equal(message?.type, 16);
  assert.equal(message?.sequence, 7);
  const attributes = decodeAttributes(message?.body ?? new Uint8Array(0));
  assert.deepEqual([...(attributes.get(3) ?? [])], [1, 2, 3]);
  assert.equal(u32Of(attributes.get(4)), 9);
});

test("an acknowledgement is errno 0, a refusal its errno", () => {
  assert.equal(errorOf({ type: 2, sequence: 1, body: new Uint8Array(4) }), 0);
  assert.equal(errorOf({ type: 2, sequence: 1, body: new Uint8Array(Int32Array.of(-17).buffer) }), 17);
});

test("the broadcast address ends the network", () => {
  assert.deepEqual([...broadcastOf(Uint8Array.of(10, 0, 2, 15), 24)], [10, 0, 2, 255]);
  assert.deepEqual([...broadcastOf(Uint8Array.of(192, 168, 5, 9), 30)], [192, 168, 5, 11]);
  assert.deepEqual([...broadcastOf(Uint8Array.of(1, 2, 3, 4), 32)], [1, 2, 3, 4]);
});

test("no bytes make decoding hang or read outside them", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  for (let i = 0; i < 5000; i++) {
    const bytes = random.fill(new Uint8Array(random.below(96)));
    // Small lengths, so that many headers look right.
    for (let at = 0; at + 4 <= bytes.length; at += 4)
      if (random.below(2) === 0) bytes.set([random.below(40), 0], at);
    try {
      for (const message of decodeMessages(bytes)) {
        decodeAttributes(message.body);
        if (message.body.length >= 16) decodeLink(message.body);
      }
      decodeAttributes(bytes);
    } catch (error) {
      throw new Error(`seed ${seed}, case ${i}`, { cause: error });
    }
  }
});
