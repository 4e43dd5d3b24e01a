import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { DhcpType, decodeReply, encodeRequest, prefixOfMask } from "./message.ts";

const MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);

/** A server's answer made from the client's own message. */
function replyTo(request: Uint8Array, options: readonly number[]): Uint8Array {
  const reply = request.slice();
  reply[0] = 2;
  reply.set([10, 0, 2, 15], 16);
  reply.fill(0, 240);
  reply.set(options, 240);
  return reply;
}

const OFFER = [
  53, 1, 2, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3, 51, 4, 0, 1, 81,
  128, 255,
];

test("an offer is understood", () => {
  const request = encodeRequest({
    type: DhcpType.discover,
    xid: 0xdeadbeef,
    mac: MAC,
    hostName: "h",
    elapsedSeconds: 0,
  });
  assert.ok(request.length >= 300);
  assert.deepEqual(decodeReply(replyTo(request, OFFER), MAC), {
    type: DhcpType.offer,
    xid: 0xdeadbeef,
    address: "10.0.2.15",
    server: "10.0.2.2",
    prefixLength: 24,
    router: "10.0.2.2",
    dns: ["10.0.2.3"],
    leaseSeconds: 86400,
    renewalSeconds: 0,
    rebindingSeconds: 0,
  });
});

test("what is for another client, or no answer, is not taken", () => {
  const request = encodeRequest({
    type: DhcpType.discover,
    xid: 1,
    mac: MAC,
    hostName: "h",
    elapsedSeconds: 0,
  });
  assert.equal(decodeReply(request, MAC), null);
  assert.equal(decodeReply(replyTo(request, OFFER), Uint8Array.of(1, 2, 3, 4, 5, 6)), null);
  assert.equal(decodeReply(replyTo(request, [53, 1, 2, 255]), MAC), null);
});

test("masks", () => {
  assert.equal(prefixOfMask(Uint8Array.of(255, 255, 240, 0)), 20);
  assert.equal(prefixOfMask(Uint8Array.of(0, 0, 0, 0)), 0);
  assert.equal(prefixOfMask(Uint8Array.of(255, 255, 255, 255)), 32);
});

test("no bytes break the decoder", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const request = encodeRequest({
    type: DhcpType.discover,
    xid: 1,
    mac: MAC,
    hostName: "h",
    elapsedSeconds: 0,
  });
  for (let i = 0; i < 5000; i++) {
    const reply = replyTo(request, OFFER);
    for (let n = random.below(8); n >= 0; n--) reply[random.below(reply.length)] = random.u32();
    try {
      decodeReply(reply.subarray(0, random.below(reply.length + 1)), MAC);
    } catch (error) {
      throw new Error(`seed ${seed}, case ${i}`, { cause: error });
    }
  }
});
