/** Links, addresses and routes of the host through rtnetlink. Source: include/uapi/linux/{rtnetlink,if_link,if_addr}.h. */
import { i32, struct, u8, u16, u32 } from "../../base/layout.ts";
import { AF_INET, formatIPv4, formatMac, parseIPv4 } from "../address.ts";
import { fromCString, utf8Encode } from "../text.ts";
import {
  type Attribute,
  decodeAttributes,
  encodeAttributes,
  type Message,
  MessageFlag,
  nested,
  u32Bytes,
  u32Of,
} from "./messages.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "./socket.ts";

const LinkMessage = struct("ifinfomsg", "include/uapi/linux/rtnetlink.h", {
  family: u8,
  pad: u8,
  type: u16,
  index: i32,
  flags: u32,
  change: u32,
});
const AddressMessage = struct("ifaddrmsg", "include/uapi/linux/if_addr.h", {
  family: u8,
  prefixLength: u8,
  flags: u8,
  scope: u8,
  index: u32,
});
const RouteMessage = struct("rtmsg", "include/uapi/linux/rtnetlink.h", {
  family: u8,
  destinationLength: u8,
  sourceLength: u8,
  tos: u8,
  table: u8,
  protocol: u8,
  scope: u8,
  type: u8,
  flags: u32,
});

const Rtm = {
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
} as const;

const LinkAttribute = {
  address: 1,
  name: 3,
  mtu: 4,
  master: 10,
  operState: 16,
  linkInfo: 18,
  carrier: 33,
} as const;
const LinkInfo = { kind: 1, data: 2 } as const;
const BridgeAttribute = { forwardDelay: 1, stpState: 5 } as const;
const AddressAttribute = { address: 1, local: 2, broadcast: 4 } as const;
const RouteAttribute = { outInterface: 4, gateway: 5 } as const;

const IFF_UP = 1;
const IFF_LOOPBACK = 8;
const RT_TABLE_MAIN = 254;
const RTPROT_DHCP = 16;
const RTN_UNICAST = 1;
const IFNAME_MAX = 15;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly up: boolean;
  readonly loopback: boolean;
  readonly carrier: boolean;
  /** Index of the bridge it is a port of; 0 when of none. */
  readonly master: number;
  /** `bridge`, `tun`, …; empty for hardware. */
  readonly kind: string;
}

export interface InterfaceAddress {
  readonly index: number;
  readonly address: string;
  readonly prefixLength: number;
}

/** What may be changed of a link; what is left out stays. */
export interface LinkChange {
  readonly up?: boolean;
  readonly mac?: Uint8Array;
  readonly mtu?: number;
  /** Index of a bridge; 0 takes it out of its bridge. */
  readonly master?: number;
}

function name(text: string): Attribute {
  const encoded = utf8Encode(text);
  if (encoded.length === 0 || encoded.length > IFNAME_MAX)
    throw new RangeError(`"${text}" is no interface name`);
  return [LinkAttribute.name, Uint8Array.of(...encoded, 0)];
}

/** Decodes a link message (RTM_NEWLINK). */
export function decodeLink(body: Uint8Array): Link {
  const { index, flags } = LinkMessage.decode(body);
  const attributes = decodeAttributes(body, LinkMessage.size);
  const info = decodeAttributes(attributes.get(LinkAttribute.linkInfo) ?? new Uint8Array(0));
  const kind = info.get(LinkInfo.kind);
  return {
    index,
    name: fromCString(attributes.get(LinkAttribute.name) ?? new Uint8Array(1), 0),
    mac: formatMac(attributes.get(LinkAttribute.address) ?? new Uint8Array(6)),
    up: (flags & IFF_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    carrier: attributes.get(LinkAttribute.carrier)?.[0] === 1,
    master: u32Of(attributes.get(LinkAttribute.master)),
    kind: kind === undefined ? "" : fromCString(kind, 0),
  };
}

export class RouteSocket {
  readonly #socket = new NetlinkSocket(NETLINK_ROUTE);

  links(): Link[] {
    const replies = this.#socket.request(Rtm.getLink, MessageFlag.dump, "links", LinkMessage.encode({}));
    return replies
      .filter((message) => message.type === Rtm.newLink)
      .map((message) => decodeLink(message.body));
  }

  /** The link of that name, or null. */
  link(wanted: string): Link | null {
    return this.links().find((link) => link.name === wanted) ?? null;
  }

  change(link: Pick<Link, "index" | "name">, change: LinkChange): void {
    const attributes: Attribute[] = [];
    if (change.mac !== undefined) attributes.push([LinkAttribute.address, change.mac]);
    if (change.mtu !== undefined) attributes.push([LinkAttribute.mtu, u32Bytes(change.mtu)]);
    if (change.master !== undefined) attributes.push([LinkAttribute.master, u32Bytes(change.master)]);
    const header = LinkMessage.encode({
      index: link.index,
      flags: change.up === true ? IFF_UP : 0,
      change: change.up === undefined ? 0 : IFF_UP,
    });
    this.#socket.request(Rtm.newLink, 0, link.name, header, encodeAttributes(attributes));
  }

  /** Makes a bridge that forwards at once: no spanning tree, no forward delay. */
  createBridge(bridgeName: string, mac: Uint8Array): void {
    const attributes = encodeAttributes([
      name(bridgeName),
      [LinkAttribute.address, mac],
      nested(LinkAttribute.linkInfo, [
        [LinkInfo.kind, utf8Encode("bridge")],
        nested(LinkInfo.data, [
          [BridgeAttribute.forwardDelay, u32Bytes(0)],
          [BridgeAttribute.stpState, u32Bytes(0)],
        ]),
      ]),
    ]);
    const flags = MessageFlag.create | MessageFlag.exclusive;
    this.#socket.request(Rtm.newLink, flags, bridgeName, LinkMessage.encode({}), attributes);
  }

  deleteLink(link: Pick<Link, "index" | "name">): void {
    this.#socket.request(Rtm.deleteLink, 0, link.name, LinkMessage.encode({ index: link.index }));
  }

  /** IPv4 addresses of all interfaces. */
  addresses(): InterfaceAddress[] {
    const request = AddressMessage.encode({ family: AF_INET });
    return this.#socket
      .request(Rtm.getAddress, MessageFlag.dump, "addresses", request)
      .flatMap(decodeAddress);
  }

  addAddress({ index, address, prefixLength }: InterfaceAddress): void {
    const bytes = parseIPv4(address);
    const attributes = encodeAttributes([
      [AddressAttribute.local, bytes],
      [AddressAttribute.address, bytes],
      [AddressAttribute.broadcast, broadcastOf(bytes, prefixLength)],
    ]);
    const header = AddressMessage.encode({ family: AF_INET, prefixLength, index });
    const flags = MessageFlag.create | MessageFlag.replace;
    this.#socket.request(Rtm.newAddress, flags, address, header, attributes);
  }

  removeAddress({ index, address, prefixLength }: InterfaceAddress): void {
    const header = AddressMessage.encode({ family: AF_INET, prefixLength, index });
    const attributes = encodeAttributes([[AddressAttribute.local, parseIPv4(address)]]);
    this.#socket.request(Rtm.deleteAddress, 0, address, header, attributes);
  }

  /** Everything not on a connected network goes to `gateway`. Replaces the one there was. */
  replaceDefaultRoute(index: number, gateway: string): void {
    const header = RouteMessage.encode({
      family: AF_INET,
      table: RT_TABLE_MAIN,
      protocol: RTPROT_DHCP,
      type: RTN_UNICAST,
    });
    const attributes = encodeAttributes([
      [RouteAttribute.gateway, parseIPv4(gateway)],
      [RouteAttribute.outInterface, u32Bytes(index)],
    ]);
    const flags = MessageFlag.create | MessageFlag.replace;
    this.#socket.request(Rtm.newRoute, flags, `default route through ${gateway}`, header, attributes);
  }

  close(): void {
    this.#socket.close();
  }
}

function decodeAddress(message: Message): InterfaceAddress[] {
  if (message.type !== Rtm.newAddress) return [];
  const { index, prefixLength } = AddressMessage.decode(message.body);
  const local = decodeAttributes(message.body, AddressMessage.size).get(AddressAttribute.local);
  return local === undefined ? [] : [{ index, prefixLength, address: formatIPv4(local) }];
}

/** The last address of the network that `address` is in. */
export function broadcastOf(address: Uint8Array, prefixLength: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(address, (byte, i) => {
    const hostBits = Math.min(8, Math.max(0, 8 * (i + 1) - prefixLength));
    return byte | ((1 << hostBits) - 1);
  });
}
