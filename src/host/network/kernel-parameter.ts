/**
 * The `ip=` parameter of the kernel's command line, as the kernel's own nfsroot documentation defines it:
 * `ip=CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF:DNS0:DNS1`, or `ip=dhcp`.
 */
import { ThimbleError } from "../../base/errors.ts";
import { tryParseIPv4 } from "../../sys/address.ts";
import { prefixOfMask } from "./dhcp/message.ts";

export type AddressConfiguration =
  | { readonly kind: "dhcp"; readonly device: string | null; readonly hostName: string | null }
  | {
      readonly kind: "static";
      readonly device: string | null;
      readonly hostName: string | null;
      readonly address: string;
      readonly prefixLength: number;
      readonly gateway: string | null;
      readonly dns: readonly string[];
    };

const DHCP_WORDS = ["", "dhcp", "any", "on", "both"];

/** How the host gets its address; DHCP when nothing says otherwise. Throws ThimbleError("bad_ip_parameter"). */
export function parseAddressConfiguration(commandLine: string): AddressConfiguration {
  const parameter = commandLine.split(/\s+/).findLast((word) => word.startsWith("ip="));
  const value = parameter?.slice(3) ?? "dhcp";
  const [client = "", , gateway = "", mask = "", host = "", device = "", autoconf = "", ...dns] =
    value.split(":");
  const names = { device: device || null, hostName: host || null };
  if (DHCP_WORDS.includes(client)) return { kind: "dhcp", ...names };
  const bad = (what: string): ThimbleError =>
    new ThimbleError(
      "bad_ip_parameter",
      `kernel parameter "${parameter}": ${what}; see docs/guide.md, Network`,
    );
  if (tryParseIPv4(client) === null) throw bad(`"${client}" is no IPv4 address`);
  if (!["", "off", "none"].includes(autoconf)) throw bad(`an address and "${autoconf}" exclude each other`);
  const maskBytes = tryParseIPv4(mask);
  if (maskBytes === null) throw bad(`"${mask}" is no network mask`);
  const gatewayGiven = gateway !== "" && gateway !== "0.0.0.0";
  if (gatewayGiven && tryParseIPv4(gateway) === null) throw bad(`gateway "${gateway}" is no IPv4 address`);
  return {
    kind: "static",
    ...names,
    address: client,
    prefixLength: prefixOfMask(maskBytes),
    gateway: gatewayGiven ? gateway : null,
    dns: dns.filter((server) => tryParseIPv4(server) !== null),
  };
}
