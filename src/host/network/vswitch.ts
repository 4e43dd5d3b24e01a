/**
 * The virtual switch: a bridge that carries the host's own address, with a hardware NIC as uplink and a tap per VM
 * interface. It is found again, not made anew, after the agent is restarted, so VMs notice nothing.
 */
import { ThimbleError } from "../../base/errors.ts";
import type { Link, RouteSocket } from "../../sys/netlink/route.ts";
import { limitGuest } from "../../sys/netlink/traffic.ts";
import { createPersistentTap } from "./tap.ts";

export const VSWITCH = "vswitch0";

/** Hardware interfaces: those the kernel gives no kind. */
function isHardware(link: Link): boolean {
  return link.kind === "" && !link.loopback;
}

/** Takes the uplink: the one asked for, else the first with a carrier in name order, else the first. */
export function chooseUplink(links: readonly Link[], wanted: string | null): Link | null {
  const nics = links.filter(isHardware).sort((a, b) => (a.name < b.name ? -1 : 1));
  if (wanted !== null) return nics.find((nic) => nic.name === wanted) ?? null;
  return nics.find((nic) => nic.carrier) ?? nics[0] ?? null;
}

/** Makes the bridge with its uplink, or finds it. Throws ThimbleError("no_nic") when there is nothing to connect it to. */
export function openVswitch(route: RouteSocket, wantedUplink: string | null): Link {
  const existing = route.link(VSWITCH);
  if (existing !== null) return existing;
  for (const link of route.links()) {
    if (isHardware(link) && !link.up) route.change(link, { up: true }); // a carrier shows only when it is up
  }
  const uplink = chooseUplink(route.links(), wantedUplink);
  if (uplink === null) {
    const which =
      wantedUplink === null ? "a network interface that the image has a driver for" : wantedUplink;
    throw new ThimbleError("no_nic", `This host has no uplink: ${which} was not found`);
  }
  // The uplink's address, so that the network sees the same host whether the bridge is there or not.
  const mac = Uint8Array.from(uplink.mac.split(":"), (byte) => Number.parseInt(byte, 16));
  route.createBridge(VSWITCH, mac);
  const bridge = route.link(VSWITCH) as Link;
  route.change(uplink, { master: bridge.index });
  route.change(bridge, { up: true });
  return { ...bridge, mac: uplink.mac };
}

/** Makes a tap, connects it and brings it up. Nothing is left behind when that fails. */
export function connectTap(route: RouteSocket, bridge: Link, name: string, hasSeveralQueues: boolean): void {
  createPersistentTap(name, hasSeveralQueues);
  const tap = route.link(name);
  if (tap === null) throw new ThimbleError("no_tap", `${name} vanished as soon as it was made`);
  try {
    // Without a limit nothing waits before the tap, whose own queues are long enough.
    limitGuest(tap.index, {});
    route.change(tap, { master: bridge.index, up: true });
  } catch (error) {
    route.deleteLink(tap);
    throw error;
  }
}

/** Removes a tap; nothing happens when it is gone. */
export function removeTap(route: RouteSocket, name: string): void {
  const tap = route.link(name);
  if (tap !== null) route.deleteLink(tap);
}
