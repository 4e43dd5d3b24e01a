import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeAttributes, u32Of } from "./messages.ts";
import { policing, tokenBucket } from "./traffic.ts";

const none = new Uint8Array(0);
const textOf = (bytes: Uint8Array | undefined) => String.fromCharCode(...(bytes ?? none));
const u64Of = (bytes: Uint8Array | undefined) => u32Of(bytes) + u32Of((bytes ?? none).subarray(4)) * 2 ** 32;

test("a token bucket names rate, burst and queue as the kernel wants them", () => {
  const outer = decodeAttributes(tokenBucket({ bytesPerSecond: 2_000_000 }));
  assert.equal(textOf(outer.get(1)), "tbf\0");
  const options = decodeAttributes(outer.get(2) ?? none);
  const parameters = options.get(1) ?? none;
  assert.equal(parameters.length, 36, "struct tc_tbf_qopt");
  assert.equal(parameters[1], 1, "Ethernet: no rate table is asked for");
  assert.equal(u32Of(parameters.subarray(8)), 2_000_000);
  assert.equal(u32Of(parameters.subarray(24)), 256 * 1024, "what may wait");
  assert.equal(u64Of(options.get(4)), 2_000_000);
  assert.equal(u32Of(options.get(6)), 500_000, "a quarter of a second's burst");
});

test("policing drops what is beyond the rate, with the burst in ticks of 64 ns", () => {
  const outer = decodeAttributes(policing({ bytesPerSecond: 1_000_000, burstBytes: 200_000 }));
  assert.equal(textOf(outer.get(1)), "matchall\0");
  const [action] = decodeAttributes(decodeAttributes(outer.get(2) ?? none).get(2) ?? none).values();
  const parts = decodeAttributes(action ?? none);
  assert.equal(textOf(parts.get(1)), "police\0");
  const options = decodeAttributes(parts.get(2) ?? none);
  const parameters = options.get(1) ?? none;
  assert.equal(parameters.length, 56, "struct tc_police");
  assert.equal(u32Of(parameters.subarray(4)), 2, "TC_ACT_SHOT");
  assert.equal(u32Of(parameters.subarray(12)), 200_000_000 / 64, "200 ms");
  assert.equal(u32Of(parameters.subarray(16)), 0xffff_ffff, "no frame is too long");
  assert.equal(u32Of(parameters.subarray(28)), 1_000_000);
  assert.equal(options.get(2)?.length, 1024);
  assert.equal(u64Of(options.get(8)), 1_000_000);
});

test("rates and bursts beyond 32 bits stay in their fields", () => {
  const rate = { bytesPerSecond: Number.MAX_SAFE_INTEGER, burstBytes: Number.MAX_SAFE_INTEGER };
  const bucket = decodeAttributes(decodeAttributes(tokenBucket(rate)).get(2) ?? none);
  assert.equal(u64Of(bucket.get(4)), Number.MAX_SAFE_INTEGER);
  assert.equal(u32Of((bucket.get(1) ?? none).subarray(8)), 0xffff_ffff);
  assert.equal(u32Of(bucket.get(6)), 2 ** 30);
  policing(rate);
  policing({ bytesPerSecond: 65536, burstBytes: 2 ** 40 });
});
