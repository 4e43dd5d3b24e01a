/**
 * The client's state machine (RFC 2131, section 4.4): a union of states and one pure transition function. Sending,
 * waiting and configuring are the caller's, told to it as actions.
 */
import { type DhcpReply, DhcpType } from "./message.ts";

export interface Lease {
  readonly address: string;
  readonly prefixLength: number;
  readonly router: string | null;
  readonly dns: readonly string[];
  readonly server: string;
  /** Times since `obtainedMs` on the caller's clock. */
  readonly obtainedMs: number;
  readonly renewMs: number;
  readonly rebindMs: number;
  readonly expireMs: number;
}

export type DhcpState =
  | { readonly name: "selecting"; readonly tries: number }
  | { readonly name: "requesting"; readonly offer: DhcpReply; readonly tries: number }
  | { readonly name: "bound"; readonly lease: Lease }
  | { readonly name: "renewing"; readonly lease: Lease }
  | { readonly name: "rebinding"; readonly lease: Lease };

export type DhcpInput = { readonly kind: "timeout" } | { readonly kind: "reply"; readonly reply: DhcpReply };

export type DhcpAction =
  | { readonly kind: "discover" }
  | { readonly kind: "request"; readonly offer: DhcpReply }
  | { readonly kind: "renew"; readonly lease: Lease; readonly broadcast: boolean }
  | { readonly kind: "configure"; readonly lease: Lease }
  | { readonly kind: "deconfigure" };

export interface DhcpStep {
  readonly state: DhcpState;
  readonly actions: readonly DhcpAction[];
  /** When to come back with a timeout. */
  readonly timeoutMs: number;
}

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 64_000;
/** After this many unanswered requests the offer is given up. */
const REQUEST_TRIES = 4;
/** RFC 2131 section 4.4.5: not more often than this while renewing. */
const RENEW_RETRY_MIN_MS = 60_000;
/** Leases are counted in 32 bits; all ones is for ever. What is longer than this is renewed sooner than it must be. */
const LEASE_MAX_MS = 7 * 24 * 3600 * 1000;
const LEASE_MIN_MS = 10_000;

/** The first step, also after a lease is lost. */
export function begin(): DhcpStep {
  return {
    state: { name: "selecting", tries: 1 },
    actions: [{ kind: "discover" }],
    timeoutMs: FIRST_RETRY_MS,
  };
}

/** What follows from an input at time `nowMs`. A reply that does not belong to the state changes nothing (null). */
export function transition(state: DhcpState, input: DhcpInput, nowMs: number): DhcpStep | null {
  if (input.kind === "timeout") return onTimeout(state, nowMs);
  const { reply } = input;
  switch (state.name) {
    case "selecting":
      if (reply.type !== DhcpType.offer || reply.address === "0.0.0.0") return null;
      return request(reply, 1);
    case "requesting":
      if (reply.server !== state.offer.server) return null;
      if (reply.type === DhcpType.nak) return begin();
      return reply.type === DhcpType.ack ? bind(reply, nowMs) : null;
    case "bound":
      return null;
    case "renewing":
    case "rebinding":
      if (reply.type === DhcpType.nak) return lose();
      return reply.type === DhcpType.ack ? bind(reply, nowMs) : null;
  }
}

function onTimeout(state: DhcpState, nowMs: number): DhcpStep {
  switch (state.name) {
    case "selecting": {
      const tries = state.tries + 1;
      return {
        state: { name: "selecting", tries },
        actions: [{ kind: "discover" }],
        timeoutMs: backOff(tries),
      };
    }
    case "requesting":
      return state.tries >= REQUEST_TRIES ? begin() : request(state.offer, state.tries + 1);
    case "bound":
    case "renewing":
    case "rebinding":
      return keep(state.lease, nowMs);
  }
}

/** Time passed with a lease: renew at its server, then with any, then give it up. */
function keep(lease: Lease, nowMs: number): DhcpStep {
  const age = nowMs - lease.obtainedMs;
  if (age >= lease.expireMs) return lose();
  const broadcast = age >= lease.rebindMs;
  const until = (broadcast ? lease.expireMs : lease.rebindMs) - age;
  if (age < lease.renewMs)
    return { state: { name: "bound", lease }, actions: [], timeoutMs: lease.renewMs - age };
  const half = Math.max(until / 2, RENEW_RETRY_MIN_MS);
  return {
    state: { name: broadcast ? "rebinding" : "renewing", lease },
    actions: [{ kind: "renew", lease, broadcast }],
    timeoutMs: Math.min(half, until),
  };
}

function request(offer: DhcpReply, tries: number): DhcpStep {
  return {
    state: { name: "requesting", offer, tries },
    actions: [{ kind: "request", offer }],
    timeoutMs: backOff(tries),
  };
}

function bind(reply: DhcpReply, nowMs: number): DhcpStep {
  const lease = leaseOf(reply, nowMs);
  return {
    state: { name: "bound", lease },
    actions: [{ kind: "configure", lease }],
    timeoutMs: lease.renewMs,
  };
}

function lose(): DhcpStep {
  const first = begin();
  return { ...first, actions: [{ kind: "deconfigure" }, ...first.actions] };
}

function backOff(tries: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** (tries - 1), LAST_RETRY_MS);
}

function leaseOf(reply: DhcpReply, nowMs: number): Lease {
  const expireMs = Math.min(Math.max(reply.leaseSeconds * 1000, LEASE_MIN_MS), LEASE_MAX_MS);
  const given = (seconds: number, otherwise: number, limit: number): number => {
    const ms = seconds * 1000;
    return ms > 0 && ms < limit ? ms : otherwise;
  };
  const rebindMs = given(reply.rebindingSeconds, expireMs * 0.875, expireMs);
  return {
    address: reply.address,
    prefixLength: reply.prefixLength,
    router: reply.router,
    dns: reply.dns,
    server: reply.server,
    obtainedMs: nowMs,
    expireMs,
    rebindMs,
    renewMs: given(reply.renewalSeconds, Math.min(expireMs / 2, rebindMs), rebindMs),
  };
}
