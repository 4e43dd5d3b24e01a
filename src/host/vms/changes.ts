/** Changing what may be changed of a VM at any time, whether it runs or not: its balloon, its limits. */
import type { DiskLimits, NetworkLimits, VmmConfig } from "../../vmm/config.ts";
import type { ControlCall } from "../../vmm/control.ts";
import { RequestError } from "../http/errors.ts";
import type { HostNetwork } from "./host-network.ts";
import type { RunDirectory } from "./run-directory.ts";
import { checkBalloon, type VmDisk, type VmNetwork, type VmSpec } from "./spec.ts";

/** New limits for the disk or interface with this number; they replace all it had. */
export interface LimitChange<Limits> {
  readonly index: number;
  readonly limits: Limits;
}

/** What is absent stays. */
export interface VmChange {
  readonly memory?: { readonly balloonTargetBytes: number } | undefined;
  readonly disks?: readonly LimitChange<DiskLimits>[] | undefined;
  readonly networks?: readonly LimitChange<NetworkLimits>[] | undefined;
}

/** The VM as changes see it. */
export interface ChangingVm {
  readonly spec: VmSpec;
  /** Keeps parts of the description for later starts. */
  keep(changed: Partial<VmSpec>): void;
  readonly directory: RunDirectory;
  readonly network: HostNetwork;
  /** Tells the VMM, if there is one. */
  ask(call: ControlCall): Promise<unknown>;
}

/**
 * Makes all of a change or, when a part of it is wrong, nothing. Rejects with RequestError: 400 naming the field at fault;
 * 409 when a running VM cannot be told, which then learns it at its next reset.
 */
export async function applyChange(vm: ChangingVm, change: VmChange): Promise<void> {
  const { spec, directory } = vm;
  const disks = change.disks && withLimits(spec.disks, change.disks, "disks");
  const networks = change.networks && withLimits(spec.networks, change.networks, "networks");
  const memory = change.memory && { ...spec.memory, ...change.memory };
  if (memory !== undefined) checkBalloon({ memory, memoryBytes: spec.memoryBytes });
  vm.keep({
    ...(disks === undefined ? {} : { disks }),
    ...(networks === undefined ? {} : { networks }),
    ...(memory === undefined ? {} : { memory }),
  });
  const config = directory.config();
  if (config === null) return;
  // A reset executes the VMM anew, with what its file says then.
  directory.change({
    ...config,
    disks: merged(config.disks, disks),
    networks: merged(config.networks, networks),
    ...(memory === undefined ? {} : { memory }),
  });
  for (const { index, limits } of change.networks ?? []) {
    const tap = config.networks[index]?.tap;
    if (tap !== undefined) vm.network.limitTap(tap, limits);
  }
  for (const { index, limits } of change.disks ?? []) await vm.ask({ op: "limitDisk", index, limits });
  if (change.memory !== undefined)
    await vm.ask({ op: "balloon", targetBytes: change.memory.balloonTargetBytes });
}

/** Disks or interfaces with their new limits. Throws RequestError (400) for one that there is not. */
function withLimits<T extends VmDisk | VmNetwork>(
  present: readonly T[],
  changes: readonly LimitChange<T["limits"]>[],
  field: "disks" | "networks",
): T[] {
  const changed = [...present];
  changes.forEach(({ index, limits }, i) => {
    const one = changed[index];
    const at = `${field}[${i}].index`;
    if (one === undefined) {
      const kind = field === "disks" ? "disk" : "interface";
      throw new RequestError(400, "invalid_request", `${at}: the VM has no such ${kind}.`, at);
    }
    changed[index] = { ...one, limits };
  });
  return changed;
}

/** What a VMM has been told, with the limits that are new. */
function merged<T extends VmmConfig["disks"][number] | VmmConfig["networks"][number]>(
  told: readonly T[],
  changed: readonly { readonly limits?: T["limits"] }[] | undefined,
): readonly T[] {
  return changed === undefined ? told : told.map((one, i) => ({ ...one, limits: changed[i]?.limits }));
}
