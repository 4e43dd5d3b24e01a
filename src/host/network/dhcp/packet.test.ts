import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { decodePacket, encodePacket } from "./packet.ts";

/** A packet back from the server: the same with the ports exchanged. */
function answered(payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const packet = encodePacket(payload, Uint8Array.of(10, 0, 2, 2));
  packet.set([0, 67, 0, 68], 20);
  return packet;
}

test("a packet to the client's port gives its payload", () => {
  assert.deepEqual([...(decodePacket(answered(Uint8Array.of(1, 2, 3))) ?? [])], [1, 2, 3]);
});

test("other ports, other protocols, a wrong checksum and fragments are not taken", () => {
  assert.equal(decodePacket(encodePacket(Uint8Array.of(1), new Uint8Array(4))), null);
  for (const at of [0, 6, 8, 9, 10]) {
    const packet = answered(Uint8Array.of(1));
    packet[at] = (packet[at] as number) ^ 0x21;
    assert.equal(decodePacket(packet), null, `byte ${at}`);
  }
});

test("no bytes break it", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  for (let i = 0; i < 3000; i++) {
    const packet = answered(random.fill(new Uint8Array(random.below(40))));
    packet[random.below(packet.length)] = random.u32();
    try {
      decodePacket(packet.subarray(0, random.below(packet.length + 1)));
    } catch (error) {
      throw new Error(`seed ${seed}, case ${i}`, { cause: error });
    }
  }
});
