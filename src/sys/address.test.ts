import assert from "node:assert/strict";
import { test } from "node:test";
import {
  decodeInetAddress,
  formatAddress,
  formatMac,
  inetAddress,
  packetAddress,
  parseIPv4,
  tryParseIPv4,
  unixAddress,
} from "./address.ts";

test("IPv4 addresses are read strictly", () => {
  assert.deepEqual([...parseIPv4("192.0.2.255")], [192, 0, 2, 255]);
  for (const text of [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.-4",
    "1.2.3.4 ",
    "a.b.c.d",
    "1..2.3",
  ]) {
    assert.equal(tryParseIPv4(text), null, text);
  }
  assert.throws(() => parseIPv4("localhost"), /not an IPv4 address/);
});

test("socket addresses have the kernel's layout", () => {
  const inet = inetAddress("10.1.2.3", 0x1234);
  assert.deepEqual([...inet], [2, 0, 0x12, 0x34, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(decodeInetAddress(inet), { address: "10.1.2.3", port: 0x1234 });
  assert.equal(formatAddress(inet), "10.1.2.3:4660");
  assert.deepEqual([...unixAddress("/a")], [1, 0, 0x2f, 0x61, 0]);
  assert.equal(formatAddress(unixAddress("/run/x")), "/run/x");
  assert.throws(() => unixAddress("/".repeat(108)), /too long/);
  const packet = packetAddress(7, 0x0806, Uint8Array.of(1, 2, 3, 4, 5, 6));
  assert.deepEqual([...packet], [17, 0, 8, 6, 7, 0, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0]);
});

test("addresses for people", () => {
  assert.equal(formatMac(Uint8Array.of(0x52, 0x54, 0, 0xab, 1, 0xff)), "52:54:00:ab:01:ff");
  assert.equal(formatAddress(new Uint8Array(2)), "local");
  assert.equal(formatAddress(new Uint8Array(0)), "local");
});
