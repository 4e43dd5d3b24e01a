/** `networks` of a VMM's configuration. */
import type { NetworkConfig, NetworkLimits, NetworkRate } from "./config.ts";
import { ascii, bad, boolean, integer, object, optional, present } from "./config-values.ts";

/** IFNAMSIZ less the zero at the end. */
const INTERFACE_NAME_MAX = 15;
/** Pairs: more CPUs than that hardly ever all work for one interface. */
const QUEUES_MAX = 16;
/** Below it a guest hardly gets anywhere. */
const BYTES_PER_SECOND_MIN = 64 * 1024;
/** A segment of 64 KiB passes as a whole or not at all. */
const BURST_BYTES_MIN = 128 * 1024;

const RATE_FIELDS = ["bytesPerSecond", "burstBytes"] as const;

export const NETWORK_FIELDS = {
  networks: ["tap", "mac", "vhost", "queues", "limits"],
  networkLimits: ["receive", "transmit"],
  networkReceive: RATE_FIELDS,
  networkTransmit: RATE_FIELDS,
} as const satisfies Record<string, readonly string[]>;

export function parseNetwork(value: unknown, field: string): NetworkConfig {
  const network = object(value, field, NETWORK_FIELDS.networks);
  const tap = ascii(network.tap, `${field}.tap`, INTERFACE_NAME_MAX);
  if (!/^[^/\s:]+$/.test(tap)) bad(`${field}.tap`, "must be the name of a network interface");
  const mac = ascii(network.mac, `${field}.mac`, 17);
  if (!/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i.test(mac)) {
    bad(`${field}.mac`, 'must be a station\'s MAC address like "52:54:00:12:34:56"');
  }
  return {
    tap,
    mac,
    ...present(
      "vhost",
      optional(network.vhost, (v) => boolean(v, `${field}.vhost`)),
    ),
    ...present(
      "queues",
      optional(network.queues, (v) => integer(v, `${field}.queues`, 1, QUEUES_MAX)),
    ),
    ...present(
      "limits",
      optional(network.limits, (v) => parseLimits(v, `${field}.limits`)),
    ),
  };
}

function parseLimits(value: unknown, field: string): NetworkLimits {
  const limits = object(value, field, NETWORK_FIELDS.networkLimits);
  const rate = (name: "receive" | "transmit") =>
    present(
      name,
      optional(limits[name], (v) => parseRate(v, `${field}.${name}`)),
    );
  return { ...rate("receive"), ...rate("transmit") };
}

function parseRate(value: unknown, field: string): NetworkRate {
  const rate = object(value, field, RATE_FIELDS);
  return {
    bytesPerSecond: integer(
      rate.bytesPerSecond,
      `${field}.bytesPerSecond`,
      BYTES_PER_SECOND_MIN,
      Number.MAX_SAFE_INTEGER,
    ),
    ...present(
      "burstBytes",
      optional(rate.burstBytes, (v) =>
        integer(v, `${field}.burstBytes`, BURST_BYTES_MIN, Number.MAX_SAFE_INTEGER),
      ),
    ),
  };
}
