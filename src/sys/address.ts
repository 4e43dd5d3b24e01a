/** Socket addresses as the kernel takes them (ip(7), unix(7), packet(7)), and IPv4 and MAC addresses as text. */
import { ThimbleError } from "../base/errors.ts";
import { be16, bytes, i32, packed, u8, u16 } from "../base/layout.ts";
import { fromCString, utf8Encode } from "./text.ts";

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_PACKET = 17;

const SockaddrIn = packed("sockaddr_in", "include/uapi/linux/in.h", {
  family: u16,
  port: be16,
  address: bytes(4),
  padding: bytes(8),
});
const SockaddrLl = packed("sockaddr_ll", "include/uapi/linux/if_packet.h", {
  family: u16,
  protocol: be16,
  interfaceIndex: i32,
  hardwareType: u16,
  packetType: u8,
  addressLength: u8,
  address: bytes(8),
});
/** sun_path of struct sockaddr_un, with the zero at its end. */
const UNIX_PATH_MAX = 108;
/** Room for any address that `receiveFrom` and `accept` may report. */
export const SOCKADDR_MAX = 2 + UNIX_PATH_MAX;

/** Four bytes of `192.0.2.1`. Throws ThimbleError("bad_address"). */
export function parseIPv4(text: string): Uint8Array<ArrayBuffer> {
  const address = tryParseIPv4(text);
  if (address === null)
    throw new ThimbleError("bad_address", `"${text}" is not an IPv4 address like 192.0.2.1`);
  return address;
}

/** The same, with null for what is none. Leading zeroes are refused: some would read them as octal. */
export function tryParseIPv4(text: string): Uint8Array<ArrayBuffer> | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  const address = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i] as string;
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return null;
    address[i] = Number(part);
  }
  return address;
}

export function formatIPv4(address: Uint8Array): string {
  return address.subarray(0, 4).join(".");
}

/** `52:54:00:12:34:56` */
export function formatMac(address: Uint8Array): string {
  return Array.from(address.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

export function inetAddress(address: string, port: number): Uint8Array<ArrayBuffer> {
  return SockaddrIn.encode({ family: AF_INET, port, address: parseIPv4(address) });
}

/** Throws ThimbleError("path_too_long"): the kernel's limit is 107 bytes. */
export function unixAddress(path: string): Uint8Array<ArrayBuffer> {
  const name = utf8Encode(path);
  if (name.length >= UNIX_PATH_MAX) {
    throw new ThimbleError(
      "path_too_long",
      `${path} is too long for a socket: at most ${UNIX_PATH_MAX - 1} bytes`,
    );
  }
  const address = new Uint8Array(2 + name.length + 1);
  address[0] = AF_UNIX;
  address.set(name, 2);
  return address;
}

/** Where a packet socket sends to and receives from; `protocol` is the EtherType. */
export function packetAddress(
  interfaceIndex: number,
  protocol: number,
  mac: Uint8Array = new Uint8Array(6),
): Uint8Array<ArrayBuffer> {
  return SockaddrLl.encode({ family: AF_PACKET, protocol, interfaceIndex, addressLength: 6, address: mac });
}

/** An address the kernel reported, for people: `192.0.2.1:80`, a path, or `local` for a socket without a name. */
export function formatAddress(address: Uint8Array): string {
  const family = address.length >= 2 ? (address[0] as number) | ((address[1] as number) << 8) : 0;
  if (family === AF_INET && address.length >= SockaddrIn.size) {
    const { address: host, port } = SockaddrIn.decode(address);
    return `${formatIPv4(host)}:${port}`;
  }
  if (family === AF_UNIX && address.length > 2) return fromCString(address, 2) || "local";
  return "local";
}

/** Address and port of an IPv4 socket address. Throws RangeError on any other. */
export function decodeInetAddress(address: Uint8Array): { readonly address: string; readonly port: number } {
  const { family, address: host, port } = SockaddrIn.decode(address);
  if (family !== AF_INET) throw new RangeError(`address family ${family} is not IPv4`);
  return { address: formatIPv4(host), port };
}
