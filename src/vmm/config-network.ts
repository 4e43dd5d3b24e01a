/** `networks` of a VMM's configuration. */
import type { NetworkConfig } from "./config.ts";
import { ascii, bad, boolean, integer, object, optional, present } from "./config-values.ts";

/** IFNAMSIZ less the zero at the end. */
const INTERFACE_NAME_MAX = 15;
/** Pairs: more CPUs than that hardly ever all work for one interface. */
const QUEUES_MAX = 16;

export const NETWORK_FIELDS = {
  networks: ["tap", "mac", "vhost", "queues"],
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
  };
}
