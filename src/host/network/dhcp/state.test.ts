import assert from "node:assert/strict";
import { test } from "node:test";
import { type DhcpReply, DhcpType } from "./message.ts";
import { begin, type DhcpState, type DhcpStep, type Lease, transition } from "./state.ts";

const reply = (type: number, more: Partial<DhcpReply> = {}): DhcpReply => ({
  type,
  xid: 1,
  address: "10.0.0.5",
  server: "10.0.0.1",
  prefixLength: 24,
  router: "10.0.0.1",
  dns: [],
  leaseSeconds: 1000,
  renewalSeconds: 0,
  rebindingSeconds: 0,
  ...more,
});
const answer = (state: DhcpState, r: DhcpReply, now = 0) =>
  transition(state, { kind: "reply", reply: r }, now);
const wait = (state: DhcpState, now: number) => transition(state, { kind: "timeout" }, now) as DhcpStep;
const leaseAfter = (state: DhcpState, r: DhcpReply): Lease => {
  const next = (answer(state, r) as DhcpStep).state;
  assert.equal(next.name, "bound");
  return (next as { lease: Lease }).lease;
};
const bound = (): { state: DhcpState; lease: Lease } => {
  const requesting: DhcpState = { name: "requesting", offer: reply(DhcpType.offer), tries: 1 };
  const step = answer(requesting, reply(DhcpType.ack));
  const configure = step?.actions[0];
  assert.equal(configure?.kind, "configure");
  return { state: step?.state as DhcpState, lease: (configure as { lease: Lease }).lease };
};

test("selecting: an offer is requested; silence discovers again, ever more slowly", () => {
  const start = begin();
  const step = answer(start.state, reply(DhcpType.offer));
  assert.equal(step?.state.name, "requesting");
  assert.equal(step?.actions[0]?.kind, "request");
  const again = wait(start.state, 0);
  assert.equal(again.actions[0]?.kind, "discover");
  assert.ok(again.timeoutMs > start.timeoutMs);
  let state = again.state;
  for (let i = 0; i < 20; i++) state = wait(state, 0).state;
  assert.equal(wait(state, 0).timeoutMs, 64_000);
});

test("selecting: an acknowledgement or an offer of no address changes nothing", () => {
  assert.equal(answer(begin().state, reply(DhcpType.ack)), null);
  assert.equal(answer(begin().state, reply(DhcpType.offer, { address: "0.0.0.0" })), null);
});

test("requesting: acknowledged is bound, refused begins anew, another server is not heard", () => {
  const requesting: DhcpState = { name: "requesting", offer: reply(DhcpType.offer), tries: 1 };
  assert.equal(answer(requesting, reply(DhcpType.ack))?.state.name, "bound");
  assert.equal(answer(requesting, reply(DhcpType.nak))?.state.name, "selecting");
  assert.equal(answer(requesting, reply(DhcpType.ack, { server: "10.0.0.9" })), null);
});

test("requesting: silence asks again and gives the offer up in the end", () => {
  let state: DhcpState = { name: "requesting", offer: reply(DhcpType.offer), tries: 1 };
  for (let i = 0; i < 3; i++) {
    const step = wait(state, 0);
    assert.equal(step.actions[0]?.kind, "request");
    state = step.state;
  }
  assert.equal(wait(state, 0).state.name, "selecting");
});

test("bound: half the lease later it is renewed at its server", () => {
  const { state, lease } = bound();
  assert.deepEqual([lease.renewMs, lease.rebindMs, lease.expireMs], [500_000, 875_000, 1_000_000]);
  const step = wait(state, 500_000);
  assert.equal(step.state.name, "renewing");
  assert.deepEqual(step.actions[0], { kind: "renew", lease, broadcast: false });
  assert.equal(wait(state, 400_000).state.name, "bound");
  assert.equal(answer(state, reply(DhcpType.nak)), null);
});

test("renewing: acknowledged is bound from now, refused loses the address, silence goes on to rebinding", () => {
  const renewing: DhcpState = { name: "renewing", lease: bound().lease };
  const renewed = answer(renewing, reply(DhcpType.ack), 600_000);
  assert.equal(renewed?.state.name === "bound" && renewed.state.lease.obtainedMs, 600_000);
  assert.deepEqual(
    answer(renewing, reply(DhcpType.nak))?.actions.map((a) => a.kind),
    ["deconfigure", "discover"],
  );
  const step = wait(renewing, 875_000);
  assert.equal(step.state.name, "rebinding");
  assert.equal((step.actions[0] as { broadcast: boolean }).broadcast, true);
});

test("rebinding: silence until the end loses the address", () => {
  const step = wait({ name: "rebinding", lease: bound().lease }, 1_000_000);
  assert.deepEqual(
    step.actions.map((a) => a.kind),
    ["deconfigure", "discover"],
  );
  assert.equal(step.state.name, "selecting");
});

test("times a server made up are put in order", () => {
  const requesting: DhcpState = { name: "requesting", offer: reply(DhcpType.offer), tries: 1 };
  const odd = reply(DhcpType.ack, { leaseSeconds: 100, renewalSeconds: 5000, rebindingSeconds: 7000 });
  const lease = leaseAfter(requesting, odd);
  assert.ok(lease.renewMs <= lease.rebindMs && lease.rebindMs < lease.expireMs);
  const forever = leaseAfter(requesting, reply(DhcpType.ack, { leaseSeconds: 0xffffffff }));
  assert.ok(forever.expireMs < 2 ** 31);
});
