/** Tells the console where the API is: the line that people read and that the rig waits for (docs/api.md). */
import type { Platform } from "./platform/platform.ts";
import type { HostNetwork } from "./vms/host-network.ts";

/** While there is no address yet: DHCP takes a moment, and the boot's length is measured by this line. */
const WAITING_MS = 20;
/** Afterwards, in case the address changes. */
const WATCHING_MS = 5000;

/** Prints the line for each address as soon as it is there. `print` takes a line without its end. */
export function announceApi(
  platform: Pick<Platform, "after">,
  network: Pick<HostNetwork, "addresses">,
  port: number,
  token: string,
  print: (line: string) => void,
): void {
  const told = new Set<string>();
  const look = () => {
    for (const { address } of network.addresses()) {
      if (told.has(address)) continue;
      told.add(address);
      print(`thimble: api http://${address}${port === 80 ? "" : `:${port}`}/api/v1 token ${token}`);
    }
    platform.after(told.size === 0 ? WAITING_MS : WATCHING_MS, look);
  };
  look();
}
