/** Changing what interfaces of a VM may do, whether it runs or not. */
import type { NetworkLimits } from "../../vmm/config.ts";
import { RequestError } from "../http/errors.ts";
import type { HostNetwork } from "./host-network.ts";
import type { RunDirectory } from "./run-directory.ts";
import type { VmNetwork } from "./spec.ts";

/** New limits for the interface with this number; they replace all it had. */
export interface NetworkChange {
  readonly index: number;
  readonly limits: NetworkLimits;
}

/** Throws RequestError (400) for an interface that there is not. */
export function changedNetworks(
  networks: readonly VmNetwork[],
  changes: readonly NetworkChange[],
): VmNetwork[] {
  const changed = [...networks];
  changes.forEach(({ index, limits }, i) => {
    const network = changed[index];
    const field = `networks[${i}].index`;
    if (network === undefined) {
      throw new RequestError(400, "invalid_request", `${field}: the VM has no such interface.`, field);
    }
    changed[index] = { ...network, limits };
  });
  return changed;
}

/** Puts the limits on the taps of a VM that runs, and into the file that its VMM reads at a reset. */
export function limitTaps(
  directory: RunDirectory,
  network: HostNetwork,
  networks: readonly VmNetwork[],
  changes: readonly NetworkChange[],
): void {
  const config = directory.config();
  if (config === null) return;
  const merged = config.networks.map((one, i) => ({ ...one, ...networks[i] }));
  directory.change({ ...config, networks: merged });
  for (const { index, limits } of changes) {
    const tap = config.networks[index]?.tap;
    if (tap !== undefined) network.limitTap(tap, limits);
  }
}
