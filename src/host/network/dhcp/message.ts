/** DHCP messages (RFC 2131 section 2) and the options a host needs (RFC 2132), as bytes. */
import { array, be16, be32, bytes, packed, u8 } from "../../../base/layout.ts";
import { formatIPv4, parseIPv4 } from "../../../sys/address.ts";

const Fixed = packed("DHCP message", "RFC 2131, section 2", {
  op: u8,
  htype: u8,
  hlen: u8,
  hops: u8,
  xid: be32,
  secs: be16,
  flags: be16,
  ciaddr: bytes(4),
  yiaddr: bytes(4),
  siaddr: bytes(4),
  giaddr: bytes(4),
  chaddr: bytes(16),
  sname: bytes(64),
  file: bytes(128),
  cookie: array(u8, 4),
});

export const DhcpType = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
} as const;

const Option = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  dns: 6,
  hostName: 12,
  requestedAddress: 50,
  leaseTime: 51,
  messageType: 53,
  serverIdentifier: 54,
  parameterList: 55,
  maximumSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  end: 255,
} as const;

const BOOTREQUEST = 1;
const BOOTREPLY = 2;
const ETHERNET = 1;
const COOKIE = [0x63, 0x82, 0x53, 0x63];
const MAXIMUM_SIZE = 1472;
/** RFC 1542: relays and old servers want at least a BOOTP message's size. */
const MINIMUM_BYTES = 300;

export interface DhcpRequest {
  readonly type: number;
  readonly xid: number;
  readonly mac: Uint8Array;
  readonly hostName: string;
  readonly elapsedSeconds: number;
  /** The client's own address when it has one (RENEWING, REBINDING). */
  readonly ciaddr?: string;
  readonly requestedAddress?: string;
  readonly server?: string;
}

export interface DhcpReply {
  readonly type: number;
  readonly xid: number;
  readonly address: string;
  readonly server: string;
  readonly prefixLength: number;
  readonly router: string | null;
  readonly dns: readonly string[];
  readonly leaseSeconds: number;
  /** 0 when the server gave none. */
  readonly renewalSeconds: number;
  readonly rebindingSeconds: number;
}

/** Encodes a client's message. */
export function encodeRequest(request: DhcpRequest): Uint8Array<ArrayBuffer> {
  const fixed = Fixed.encode({
    op: BOOTREQUEST,
    htype: ETHERNET,
    hlen: 6,
    xid: request.xid,
    secs: Math.min(request.elapsedSeconds, 0xffff),
    ciaddr: parseIPv4(request.ciaddr ?? "0.0.0.0"),
    chaddr: request.mac,
    cookie: COOKIE,
  });
  const options = [Option.messageType, 1, request.type];
  const add = (code: number, value: ArrayLike<number>): void => {
    options.push(code, value.length, ...Array.from(value));
  };
  if (request.requestedAddress !== undefined)
    add(Option.requestedAddress, parseIPv4(request.requestedAddress));
  if (request.server !== undefined) add(Option.serverIdentifier, parseIPv4(request.server));
  add(
    Option.hostName,
    Array.from(request.hostName, (c) => c.charCodeAt(0) & 0x7f),
  );
  add(Option.maximumSize, [MAXIMUM_SIZE >> 8, MAXIMUM_SIZE & 0xff]);
  add(Option.parameterList, [
    Option.subnetMask,
    Option.router,
    Option.dns,
    Option.renewalTime,
    Option.rebindingTime,
  ]);
  options.push(Option.end);
  const out = new Uint8Array(Math.max(fixed.length + options.length, MINIMUM_BYTES));
  out.set(fixed);
  out.set(options, fixed.length);
  return out;
}

/** Takes a server's message apart; null when it is none, is for another client, or lacks what it must have. */
export function decodeReply(data: Uint8Array, mac: Uint8Array): DhcpReply | null {
  if (data.length < Fixed.size) return null;
  const fixed = Fixed.decode(data);
  if (fixed.op !== BOOTREPLY || fixed.htype !== ETHERNET || fixed.hlen !== 6) return null;
  if (fixed.cookie.some((byte, i) => byte !== COOKIE[i])) return null;
  if (mac.some((byte, i) => byte !== fixed.chaddr[i])) return null;
  const options = decodeOptions(data.subarray(Fixed.size));
  const type = options.get(Option.messageType)?.[0];
  const server = options.get(Option.serverIdentifier);
  if (type === undefined || server === undefined || server.length !== 4) return null;
  const address = formatIPv4(fixed.yiaddr);
  return {
    type,
    xid: fixed.xid,
    address,
    server: formatIPv4(server),
    prefixLength: prefixOf(options.get(Option.subnetMask), fixed.yiaddr),
    router: addressesIn(options.get(Option.router))[0] ?? null,
    dns: addressesIn(options.get(Option.dns)),
    leaseSeconds: seconds(options.get(Option.leaseTime)),
    renewalSeconds: seconds(options.get(Option.renewalTime)),
    rebindingSeconds: seconds(options.get(Option.rebindingTime)),
  };
}

/** Options by code; one that reaches over the end, and all after it, is dropped. */
function decodeOptions(data: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = 0; at < data.length; ) {
    const code = data[at] as number;
    if (code === Option.end) break;
    if (code === Option.pad) {
      at++;
      continue;
    }
    const length = data[at + 1];
    if (length === undefined || at + 2 + length > data.length) break;
    options.set(code, data.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return options;
}

function seconds(value: Uint8Array | undefined): number {
  if (value === undefined || value.length !== 4) return 0;
  return value.reduce((sum, byte) => sum * 256 + byte, 0);
}

function addressesIn(value: Uint8Array | undefined): string[] {
  const addresses: string[] = [];
  for (let at = 0; value !== undefined && at + 4 <= value.length; at += 4) {
    addresses.push(formatIPv4(value.subarray(at, at + 4)));
  }
  return addresses;
}

/** From the mask; from the address's old class when the server gave none. */
function prefixOf(mask: Uint8Array | undefined, address: Uint8Array): number {
  if (mask !== undefined && mask.length === 4) return prefixOfMask(mask);
  const first = address[0] as number;
  return first < 128 ? 8 : first < 192 ? 16 : 24;
}

/** Leading ones of a network mask. */
export function prefixOfMask(mask: Uint8Array): number {
  let prefix = 0;
  for (const byte of mask) {
    if (byte === 0xff) prefix += 8;
    else return prefix + Math.clz32(~(byte << 24));
  }
  return prefix;
}
