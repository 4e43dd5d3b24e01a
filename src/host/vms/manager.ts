/** All VMs of the host: making and deleting them, and what concerns several at once. */
import { MiB } from "../../base/addresses.ts";
import { topologyProblem } from "../../base/cpu-topology.ts";
import { FIRMWARE_MEMORY_MIN, FIRMWARE_MEMORY_RULE } from "../../base/firmware-memory.ts";
import { RequestError } from "../http/errors.ts";
import { timestamp } from "../platform/platform.ts";
import type { Task } from "../tasks/tasks.ts";
import type { RunningVm } from "./admission.ts";
import { chooseMac } from "./mac.ts";
import { checkBalloon, imagesOf, type VmNetwork, type VmSpec } from "./spec.ts";
import { Vm } from "./vm.ts";
import type { VmEnvironment } from "./vm-types.ts";

/** A VM's description as a client gives it: MAC addresses may be left to the host. */
export type VmRequest = Omit<VmSpec, "networks" | "disks" | "vsock"> & {
  readonly vsock?: { readonly cid?: number | undefined } | undefined;
  readonly disks?: VmSpec["disks"] | undefined;
  readonly networks?: readonly (Omit<VmNetwork, "mac"> & { readonly mac?: string | undefined })[] | undefined;
};

/** What flash can hold. */
const VARIABLES_MAX = 16 * MiB;
/** 0 to 2 have meanings of their own (linux/vm_sockets.h). */
const CONTEXT_ID_FIRST = 3;
/** Descriptions kept at once: each costs the host some memory even while its VM is stopped. */
const VMS_MAX = 512;

export class VmManager {
  readonly #environment: VmEnvironment;
  readonly #totalMemoryBytes: number;
  readonly #vms = new Map<string, Vm>();
  #closing = false;

  constructor(environment: Omit<VmEnvironment, "running">, totalMemoryBytes: number) {
    this.#environment = { ...environment, running: () => this.running() };
    this.#totalMemoryBytes = totalMemoryBytes;
  }

  /** Takes over the VMs on the datastore, those that run included. To be called once, before anything else. */
  async recover(): Promise<void> {
    for (const record of this.#environment.store.load()) {
      const vm = new Vm(this.#environment, record);
      this.#vms.set(vm.id, vm);
      await vm.recover();
    }
    this.#environment.merging.update(this.running());
  }

  list(): Vm[] {
    return [...this.#vms.values()];
  }

  /** Throws RequestError (404). */
  get(id: string): Vm {
    const vm = this.#vms.get(id);
    if (vm === undefined) {
      throw new RequestError(
        404,
        "vm_not_found",
        `There is no VM "${id}". GET /vms lists them with their ids.`,
      );
    }
    return vm;
  }

  running(): RunningVm[] {
    return this.list()
      .filter((vm) => !vm.isStopped)
      .map((vm) => vm.footprint());
  }

  /** Throws RequestError when the VM could never run here. */
  create(request: VmRequest): Vm {
    if (this.#vms.size >= VMS_MAX) {
      throw new RequestError(409, "too_many_vms", `The host keeps at most ${VMS_MAX} VMs. Delete one first.`);
    }
    const { platform, store } = this.#environment;
    const id = this.#newId();
    const disks = request.disks ?? [];
    const networks = this.#withMacs(id, request.networks ?? []);
    const { vsock, ...rest } = request;
    const spec: VmSpec = {
      ...rest,
      disks,
      networks,
      ...(vsock === undefined ? {} : { vsock: { cid: this.#contextId(vsock.cid) } }),
    };
    checkBootOrder(spec);
    checkFirmware(spec);
    checkTopology(spec);
    checkBalloon(spec);
    this.#checkMemory(spec);
    this.#checkImages(spec);
    disks.forEach(({ image }, i) => {
      this.#environment.images.diskFiles(image, `disks[${i}].image`);
    });
    const record = { id, createdAt: timestamp(platform), spec };
    const variables = "firmware" in spec.boot ? this.#variables(spec.boot.variables) : null;
    try {
      store.create(record, variables);
    } catch (error) {
      store.delete(id);
      throw error;
    }
    const vm = new Vm(this.#environment, record);
    this.#vms.set(id, vm);
    return vm;
  }

  /** Throws RequestError: 404, or 409 unless the VM is stopped. */
  delete(id: string): void {
    const vm = this.get(id);
    if (!vm.isStopped) {
      throw new RequestError(
        409,
        "vm_running",
        `The VM "${vm.spec.name}" is running. Shut it down or force it off first.`,
      );
    }
    this.#environment.store.delete(id);
    this.#vms.delete(id);
  }

  /** Throws RequestError (409) when a VM, or with `onlyRunning` a VM that is not stopped, refers to the image. */
  checkImageUnused(name: string, onlyRunning: boolean): void {
    for (const vm of this.#vms.values()) {
      if ((onlyRunning && vm.isStopped) || !imagesOf(vm.spec).some(({ image }) => image === name)) continue;
      const advice = onlyRunning ? "Shut it down first." : "Delete the VM first.";
      throw new RequestError(
        409,
        "image_in_use",
        `The VM "${vm.spec.name}" (${vm.id}) uses the image "${name}". ${advice}`,
      );
    }
  }

  /** Throws RequestError: 404, or 409 when the VM cannot be started now. */
  start(id: string): Task {
    const vm = this.get(id);
    if (this.#closing) {
      throw new RequestError(409, "host_stopping", "The host is stopping. Start the VM when it is back.");
    }
    return vm.start();
  }

  /** After `stopAll`, when the host goes on after all. */
  reopen(): void {
    this.#closing = false;
  }

  /**
   * Shuts all VMs down at once, forcing off those that have not followed after `timeoutMs`, and lets none start until
   * `reopen`. Never rejects.
   */
  async stopAll(timeoutMs: number): Promise<void> {
    this.#closing = true;
    await Promise.all(this.list().map((vm) => vm.stop(timeoutMs)));
  }

  #newId(): string {
    for (;;) {
      const id = `vm-${this.#environment.platform.randomHex(4)}`;
      if (!this.#vms.has(id)) return id;
    }
  }

  #withMacs(id: string, networks: NonNullable<VmRequest["networks"]>): VmNetwork[] {
    const taken = new Set(this.list().flatMap((vm) => vm.spec.networks.map(({ mac }) => mac)));
    networks.forEach(({ mac }, i) => {
      if (mac === undefined) return;
      if (taken.has(mac.toLowerCase())) {
        throw new RequestError(
          409,
          "mac_in_use",
          `The MAC address ${mac} is in use already.`,
          `networks[${i}].mac`,
        );
      }
      taken.add(mac.toLowerCase());
    });
    return networks.map((network, i) => {
      const mac = network.mac?.toLowerCase() ?? chooseMac(id, i, taken);
      taken.add(mac);
      return { ...network, mac };
    });
  }

  /** A context id that no other VM has: the one asked for, or the first that is free. */
  #contextId(wanted: number | undefined): number {
    const taken = new Set(this.list().map((vm) => vm.spec.vsock?.cid));
    let cid = wanted ?? CONTEXT_ID_FIRST;
    if (wanted === undefined) while (taken.has(cid)) cid++;
    if (!taken.has(cid)) return cid;
    const message = `The context id ${cid} is another VM's.`;
    throw new RequestError(409, "cid_in_use", message, "vsock.cid");
  }

  #variables(image: string): Uint8Array {
    const { images } = this.#environment;
    if (images.has(image)) return images.readWhole(image, VARIABLES_MAX);
    throw new RequestError(
      400,
      "image_not_found",
      `There is no image "${image}". Upload it first.`,
      "boot.variables",
    );
  }

  #checkMemory(spec: VmSpec): void {
    if (spec.memoryBytes <= this.#totalMemoryBytes) return;
    throw new RequestError(
      400,
      "not_enough_memory",
      `memoryBytes is ${Math.floor(spec.memoryBytes / MiB)} MiB, ` +
        `but the host has ${Math.floor(this.#totalMemoryBytes / MiB)} MiB in all.`,
      "memoryBytes",
    );
  }

  #checkImages(spec: VmSpec): void {
    const references = imagesOf(spec);
    references.forEach(({ image, field, writable }, index) => {
      if (!this.#environment.images.has(image)) {
        throw new RequestError(
          400,
          "image_not_found",
          `There is no image "${image}". Upload it first.`,
          field,
        );
      }
      const clash = references
        .slice(0, index)
        .some((other) => other.image === image && (other.writable || writable));
      if (clash) {
        throw new RequestError(
          400,
          "image_twice",
          `The VM uses the image "${image}" twice, and writes it.`,
          field,
        );
      }
    });
  }
}

function checkTopology({ cpus, cpu }: VmSpec): void {
  const problem = topologyProblem(cpus, cpu ?? {});
  if (problem !== null) throw new RequestError(400, "invalid_request", `cpu ${problem}.`, "cpu");
}

function checkFirmware({ boot, memoryBytes }: VmSpec): void {
  if (!("firmware" in boot)) return;
  for (const name of ["initrd", "commandLine"] as const) {
    if (boot[name] === undefined || boot.kernel !== undefined) continue;
    throw new RequestError(400, "invalid_request", `boot.${name} needs boot.kernel.`, `boot.${name}`);
  }
  if (memoryBytes >= FIRMWARE_MEMORY_MIN) return;
  throw new RequestError(400, "invalid_request", `memoryBytes ${FIRMWARE_MEMORY_RULE}.`, "memoryBytes");
}

function checkBootOrder({ boot, disks, cdroms = [], networks }: VmSpec): void {
  const order = "firmware" in boot ? (boot.bootOrder ?? []) : [];
  order.forEach((device, i) => {
    const [, kind, index] = /^(disk|cdrom|network)(\d+)$/.exec(device) ?? [];
    const there = kind === "disk" ? disks : kind === "cdrom" ? cdroms : networks;
    if (Number(index) < there.length) return;
    const field = `boot.bootOrder[${i}]`;
    throw new RequestError(
      400,
      "invalid_request",
      `${field} names a device that the VM does not have.`,
      field,
    );
  });
}
