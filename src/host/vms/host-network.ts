/** What VMs need of the host's network. */
import type { NetworkLimits } from "../../vmm/config.ts";

export interface HostNetwork {
  /** The host's own addresses. */
  addresses(): readonly { readonly interface: string; readonly address: string }[];
  /** Calls back with the host's address now, if it has one, and whenever it gets one. */
  onAddress(callback: (address: string) => void): void;
  /** Makes a tap interface on the VMs' network and returns its name. */
  createTap(vmId: string, index: number, hasSeveralQueues: boolean): string | Promise<string>;
  /** Holds a tap interface to these limits and no others, from now on. Throws SystemError. */
  limitTap(name: string, limits: NetworkLimits): void;
  /** Removes one; nothing happens when it is gone already. */
  removeTap(name: string): void | Promise<void>;
}
