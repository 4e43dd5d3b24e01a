/**
 * Rates of interfaces through rtnetlink: a token bucket (TBF) for what goes out, policing for what comes in.
 * Source: include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls}.h, tc-tbf(8), tc-police(8).
 */
import { i32, struct, u8, u16, u32, u64 } from "../../base/layout.ts";
import { EINVAL, ENOENT, SystemError } from "../errno.ts";
import { utf8Encode } from "../text.ts";
import { type Attribute, encodeAttributes, MessageFlag, nested } from "./messages.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "./socket.ts";

const SCHED = "include/uapi/linux/pkt_sched.h";
const CLS = "include/uapi/linux/pkt_cls.h";

const TrafficMessage = struct("tcmsg", "include/uapi/linux/rtnetlink.h", {
  family: u8,
  pad1: u8,
  pad2: u16,
  index: i32,
  handle: u32,
  parent: u32,
  info: u32,
});
const RateSpec = struct("tc_ratespec", SCHED, {
  cellLog: u8,
  linkLayer: u8,
  overhead: u16,
  cellAlign: u16,
  mpu: u16,
  rate: u32,
});
const BucketOptions = struct("tc_tbf_qopt", SCHED, {
  rate: RateSpec,
  peakRate: RateSpec,
  limit: u32,
  buffer: u32,
  mtu: u32,
});
const PoliceOptions = struct("tc_police", CLS, {
  index: u32,
  action: i32,
  limit: u32,
  burst: u32,
  mtu: u32,
  rate: RateSpec,
  peakRate: RateSpec,
  referenceCount: i32,
  bindCount: i32,
  capabilities: u32,
});
const U64 = struct("u64", SCHED, { value: u64 });

const Rtm = { newQdisc: 36, deleteQdisc: 37, newFilter: 44 } as const;
const TrafficAttribute = { kind: 1, options: 2 } as const;
const BucketAttribute = { parameters: 1, rate64: 4, burst: 6 } as const;
const MatchAllAttribute = { action: 2 } as const;
const ActionAttribute = { kind: 1, options: 2 } as const;
const PoliceAttribute = { parameters: 1, rateTable: 2, rate64: 8 } as const;

const ROOT = 0xffff_ffff;
const INGRESS = 0xffff_fff1;
const INGRESS_HANDLE = 0xffff_0000;
const PRIORITY = 1;
/** ETH_P_ALL in network byte order. */
const ALL_PROTOCOLS = 0x0300;
const ACTION_DROP = 2;
const LINK_LAYER_ETHERNET = 1;
/** Of a table that the kernel asks for and does not use. */
const RATE_TABLE_BYTES = 1024;
const CELL_LOG = 8;
const U32_MAX = 0xffff_ffff;
/** The unit of the policing's burst. */
const TICK_NS = 64;
/** How long a frame may wait, and what may wait in any case: some of the longest segments. */
const QUEUE_SECONDS = 0.1;
const QUEUE_BYTES_MIN = 256 * 1024;
/** Without a burst in the limit: what a quarter of a second has. */
const BURST_SECONDS = 0.25;
const BURST_BYTES_MIN = 256 * 1024;
const BURST_BYTES_MAX = 1024 * 1024 * 1024;

/** What an interface that leads to a guest may do, as the guest sees it. */
export interface Rates {
  readonly receive?: Rate | undefined;
  readonly transmit?: Rate | undefined;
}

/** At most so much a second; so much may pass at once after a pause. */
export interface Rate {
  readonly bytesPerSecond: number;
  readonly burstBytes?: number | undefined;
}

export class TrafficSocket {
  readonly #socket = new NetlinkSocket(NETLINK_ROUTE);

  /** Limits what the interface sends: more waits a moment, then is dropped. Null: nothing waits, nothing is limited. */
  limitOutgoing(index: number, rate: Rate | null): void {
    const flags = MessageFlag.create | MessageFlag.replace;
    const header = TrafficMessage.encode({ index, parent: ROOT });
    const what = rate === null ? encodeAttributes([kind("noqueue")]) : tokenBucket(rate);
    this.#socket.request(Rtm.newQdisc, flags, "outgoing rate", header, what);
  }

  /** Limits what the interface receives: more is dropped. Null: nothing is. */
  limitIncoming(index: number, rate: Rate | null): void {
    const ingress = TrafficMessage.encode({ index, parent: INGRESS, handle: INGRESS_HANDLE });
    try {
      this.#socket.request(Rtm.deleteQdisc, 0, "incoming rate", ingress);
    } catch (error) {
      const isNone = error instanceof SystemError && [ENOENT, EINVAL].includes(error.errno);
      if (!isNone) throw error;
    }
    if (rate === null) return;
    const flags = MessageFlag.create | MessageFlag.exclusive;
    this.#socket.request(Rtm.newQdisc, flags, "incoming rate", ingress, encodeAttributes([kind("ingress")]));
    const info = ((PRIORITY << 16) | ALL_PROTOCOLS) >>> 0;
    const filter = TrafficMessage.encode({ index, parent: INGRESS_HANDLE, handle: 1, info });
    this.#socket.request(Rtm.newFilter, flags, "incoming rate", filter, policing(rate));
  }

  close(): void {
    this.#socket.close();
  }
}

/** Holds the interface of a guest to these rates, from now on. Throws SystemError. */
export function limitGuest(index: number, { receive, transmit }: Rates): void {
  const traffic = new TrafficSocket();
  try {
    traffic.limitOutgoing(index, receive ?? null);
    traffic.limitIncoming(index, transmit ?? null);
  } finally {
    traffic.close();
  }
}

function kind(name: string): Attribute {
  return [TrafficAttribute.kind, text(name)];
}

function text(name: string): Uint8Array {
  return Uint8Array.of(...utf8Encode(name), 0);
}

function burstOf({ bytesPerSecond, burstBytes }: Rate): number {
  const wanted = burstBytes ?? Math.max(BURST_BYTES_MIN, bytesPerSecond * BURST_SECONDS);
  return Math.floor(Math.min(wanted, BURST_BYTES_MAX));
}

function rateSpec(bytesPerSecond: number) {
  return {
    ...RateSpec.zero,
    cellLog: CELL_LOG,
    linkLayer: LINK_LAYER_ETHERNET,
    rate: Math.min(bytesPerSecond, U32_MAX),
  };
}

/** For tests: attributes of a TBF. */
export function tokenBucket(rate: Rate): Uint8Array<ArrayBuffer> {
  const { bytesPerSecond } = rate;
  const limit = Math.max(QUEUE_BYTES_MIN, bytesPerSecond * QUEUE_SECONDS);
  const options = BucketOptions.encode({
    rate: rateSpec(bytesPerSecond),
    limit: Math.floor(Math.min(limit, BURST_BYTES_MAX)),
  });
  return encodeAttributes([
    kind("tbf"),
    nested(TrafficAttribute.options, [
      [BucketAttribute.parameters, options],
      [BucketAttribute.rate64, U64.encode({ value: bytesPerSecond })],
      [BucketAttribute.burst, new Uint8Array(Uint32Array.of(burstOf(rate)).buffer)],
    ]),
  ]);
}

/** For tests: attributes of a filter that polices everything. */
export function policing(rate: Rate): Uint8Array<ArrayBuffer> {
  const { bytesPerSecond } = rate;
  const burstNs = (burstOf(rate) / bytesPerSecond) * 1e9;
  const parameters = PoliceOptions.encode({
    action: ACTION_DROP,
    burst: Math.floor(Math.min(burstNs / TICK_NS, U32_MAX)),
    mtu: U32_MAX,
    rate: rateSpec(bytesPerSecond),
  });
  const police = nested(1, [
    [ActionAttribute.kind, text("police")],
    nested(ActionAttribute.options, [
      [PoliceAttribute.parameters, parameters],
      [PoliceAttribute.rateTable, new Uint8Array(RATE_TABLE_BYTES)],
      [PoliceAttribute.rate64, U64.encode({ value: bytesPerSecond })],
    ]),
  ]);
  return encodeAttributes([
    kind("matchall"),
    nested(TrafficAttribute.options, [nested(MatchAllAttribute.action, [police])]),
  ]);
}
