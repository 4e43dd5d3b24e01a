/**
 * A DHCP message in its IPv4 and UDP headers (RFC 791, RFC 768): before the host has an address, and to broadcast, the
 * client sends and receives whole IP packets on a packet socket.
 */
import { be16, bytes, packed, u8 } from "../../../base/layout.ts";

export const SERVER_PORT = 67;
export const CLIENT_PORT = 68;
const IPPROTO_UDP = 17;

const IpHeader = packed("IPv4 header", "RFC 791, section 3.1", {
  versionAndLength: u8,
  tos: u8,
  totalLength: be16,
  id: be16,
  fragment: be16,
  ttl: u8,
  protocol: u8,
  checksum: be16,
  source: bytes(4),
  destination: bytes(4),
});
const UdpHeader = packed("UDP header", "RFC 768", {
  sourcePort: be16,
  destinationPort: be16,
  length: be16,
  checksum: be16,
});

const MORE_FRAGMENTS_OR_OFFSET = 0x3fff;

/** The Internet checksum (RFC 1071). */
function checksum(data: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += ((data[i] as number) << 8) | (data[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** From 0.0.0.0 (or `source`) port 68 to the broadcast address, port 67. */
export function encodePacket(payload: Uint8Array, source: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = IpHeader.encode({
    versionAndLength: 0x45,
    totalLength: IpHeader.size + UdpHeader.size + payload.length,
    ttl: 64,
    protocol: IPPROTO_UDP,
    source,
    destination: Uint8Array.of(255, 255, 255, 255),
  });
  IpHeader.patch(header, 0, { checksum: checksum(header) });
  // The UDP checksum is optional in IPv4, and every DHCP server takes messages without one.
  const udp = UdpHeader.encode({
    sourcePort: CLIENT_PORT,
    destinationPort: SERVER_PORT,
    length: UdpHeader.size + payload.length,
  });
  const out = new Uint8Array(header.length + udp.length + payload.length);
  out.set(header);
  out.set(udp, header.length);
  out.set(payload, header.length + udp.length);
  return out;
}

/** The payload of a UDP packet to the client's port; null for anything else. */
export function decodePacket(packet: Uint8Array): Uint8Array | null {
  if (packet.length < IpHeader.size) return null;
  const ip = IpHeader.decode(packet);
  const headerBytes = (ip.versionAndLength & 15) * 4;
  if (ip.versionAndLength >> 4 !== 4 || headerBytes < IpHeader.size || ip.protocol !== IPPROTO_UDP)
    return null;
  if ((ip.fragment & MORE_FRAGMENTS_OR_OFFSET) !== 0 || packet.length < headerBytes + UdpHeader.size)
    return null;
  if (checksum(packet.subarray(0, headerBytes)) !== 0) return null;
  const udp = UdpHeader.decode(packet, headerBytes);
  if (udp.destinationPort !== CLIENT_PORT || udp.length < UdpHeader.size) return null;
  if (headerBytes + udp.length > packet.length) return null;
  return packet.subarray(headerBytes + UdpHeader.size, headerBytes + udp.length);
}
