import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAddressConfiguration } from "./kernel-parameter.ts";

test("DHCP is the default and may be asked for", () => {
  const dhcp = { kind: "dhcp", device: null, hostName: null };
  assert.deepEqual(parseAddressConfiguration("console=ttyS0 quiet"), dhcp);
  assert.deepEqual(parseAddressConfiguration("ip=dhcp"), dhcp);
  assert.deepEqual(parseAddressConfiguration("ip=::::node7:eth1:dhcp"), {
    ...dhcp,
    device: "eth1",
    hostName: "node7",
  });
});

test("a static address with everything", () => {
  assert.deepEqual(
    parseAddressConfiguration(
      "a ip=192.0.2.9::192.0.2.1:255.255.255.0:node7:eth0:off:192.0.2.53:192.0.2.54 b",
    ),
    {
      kind: "static",
      device: "eth0",
      hostName: "node7",
      address: "192.0.2.9",
      prefixLength: 24,
      gateway: "192.0.2.1",
      dns: ["192.0.2.53", "192.0.2.54"],
    },
  );
});

test("what cannot be used says what is wrong", () => {
  assert.throws(() => parseAddressConfiguration("ip=10.0.0.300::1:2"), /"10.0.0.300" is no IPv4 address/);
  assert.throws(() => parseAddressConfiguration("ip=10.0.0.3"), /no network mask/);
  assert.throws(() => parseAddressConfiguration("ip=10.0.0.3::x:255.0.0.0"), /gateway "x"/);
  assert.throws(() => parseAddressConfiguration("ip=10.0.0.3:::255.0.0.0:::dhcp"), /exclude each other/);
});
