/**
 * The host's network as a whole: the virtual switch, the host's address on it by DHCP or the kernel's `ip=`, and taps
 * for VMs. What it finds from a former agent it takes over: bridge, taps and lease stay as they are.
 */
import { messageOf } from "../../base/errors.ts";
import { monotonicMs } from "../../sys/clock.ts";
import { exists, makeDirectories, readText, replaceFile, writeFile } from "../../sys/fs.ts";
import type { Logger } from "../../sys/log.ts";
import type { EventLoop } from "../../sys/loop.ts";
import { type InterfaceAddress, type Link, RouteSocket } from "../../sys/netlink/route.ts";
import { limitGuest } from "../../sys/netlink/traffic.ts";
import type { NetworkLimits } from "../../vmm/config.ts";
import type { HostNetwork } from "../vms/host-network.ts";
import { DhcpClient } from "./dhcp/client.ts";
import type { Lease } from "./dhcp/state.ts";
import { type AddressConfiguration, parseAddressConfiguration } from "./kernel-parameter.ts";
import { connectTap, openVswitch, removeTap } from "./vswitch.ts";

export interface HostNetworkOptions {
  readonly loop: EventLoop;
  readonly log: Logger;
  readonly kernelCommandLine: string;
  /** Directory that lives until power-off, for the lease. */
  readonly runPath: string;
  readonly hostName: string;
}

const HOST_NAME_FILE = "/proc/sys/kernel/hostname";

/** Names of interfaces have at most 15 bytes: `tap`, eight of the VM's id, its interface's number. */
function tapName(vmId: string, index: number): string {
  return `tap${vmId.replace(/[^0-9a-z]/g, "").slice(0, 8)}.${index}`;
}

export class LinuxHostNetwork implements HostNetwork {
  readonly #route = new RouteSocket();
  readonly #options: HostNetworkOptions;
  readonly #leasePath: string;
  #bridge: Link | null = null;
  #onAddress: ((address: string) => void) | null = null;

  private constructor(options: HostNetworkOptions) {
    this.#options = options;
    this.#leasePath = `${options.runPath}/lease.json`;
  }

  /**
   * Brings the network up. A host without a usable NIC or with a parameter that makes no sense still starts, says so,
   * and can be seen on its console.
   */
  static start(options: HostNetworkOptions): LinuxHostNetwork {
    const network = new LinuxHostNetwork(options);
    makeDirectories(options.runPath, 0o755);
    try {
      network.#bringLoopbackUp();
      network.#configure(parseAddressConfiguration(options.kernelCommandLine));
    } catch (error) {
      options.log.error(`network: ${messageOf(error)}`);
    }
    return network;
  }

  #bringLoopbackUp(): void {
    const loopback = this.#route.links().find((link) => link.loopback);
    if (loopback !== undefined && !loopback.up) this.#route.change(loopback, { up: true });
  }

  #configure(configuration: AddressConfiguration): void {
    if (configuration.hostName !== null) writeFile(HOST_NAME_FILE, configuration.hostName);
    const bridge = openVswitch(this.#route, configuration.device);
    this.#bridge = bridge;
    if (configuration.kind === "static") {
      const { address, prefixLength, gateway } = configuration;
      this.#setAddress({ index: bridge.index, address, prefixLength }, gateway);
      return;
    }
    const { loop, hostName } = this.#options;
    new DhcpClient({
      loop,
      interfaceIndex: bridge.index,
      mac: Uint8Array.from(bridge.mac.split(":"), (byte) => Number.parseInt(byte, 16)),
      hostName: configuration.hostName ?? hostName,
      lease: this.#savedLease(),
      onLease: (lease) => this.#applyLease(bridge, lease),
    });
  }

  #savedLease(): Lease | null {
    if (!exists(this.#leasePath)) return null;
    const lease = JSON.parse(readText(this.#leasePath)) as Lease | null;
    return lease !== null && monotonicMs() < lease.obtainedMs + lease.expireMs ? lease : null;
  }

  #applyLease(bridge: Link, lease: Lease | null): void {
    replaceFile(this.#leasePath, JSON.stringify(lease));
    if (lease === null) {
      this.#options.log.warn("network: the address lease ended and no server renewed it");
      this.#removeAddressesBut(bridge.index, null);
      return;
    }
    this.#setAddress({ index: bridge.index, ...lease }, lease.router);
  }

  #setAddress(address: InterfaceAddress, gateway: string | null): void {
    const known = this.#addressesOf(address.index).some((other) => other.address === address.address);
    this.#route.addAddress(address);
    this.#removeAddressesBut(address.index, address.address);
    if (gateway !== null) this.#route.replaceDefaultRoute(address.index, gateway);
    if (!known) this.#options.log.info(`network: ${address.address}/${address.prefixLength}`);
    this.#onAddress?.(address.address);
  }

  #addressesOf(index: number): InterfaceAddress[] {
    return this.#route.addresses().filter((address) => address.index === index);
  }

  #removeAddressesBut(index: number, kept: string | null): void {
    for (const other of this.#addressesOf(index)) {
      if (other.address !== kept) this.#route.removeAddress(other);
    }
  }

  /** Calls back with the host's address now, if it has one, and whenever it gets one. */
  onAddress(callback: (address: string) => void): void {
    this.#onAddress = callback;
    const first = this.#bridge === null ? undefined : this.#addressesOf(this.#bridge.index)[0];
    if (first !== undefined) callback(first.address);
  }

  addresses(): { interface: string; address: string }[] {
    const names = new Map(this.#route.links().map((link) => [link.index, link]));
    return this.#route.addresses().flatMap(({ index, address }) => {
      const link = names.get(index);
      return link === undefined || link.loopback ? [] : [{ interface: link.name, address }];
    });
  }

  createTap(vmId: string, index: number, hasSeveralQueues: boolean): string {
    const name = tapName(vmId, index);
    if (this.#bridge === null) throw new Error("this host has no network");
    connectTap(this.#route, this.#bridge, name, hasSeveralQueues);
    return name;
  }

  limitTap(name: string, limits: NetworkLimits): void {
    const tap = this.#route.link(name);
    if (tap !== null) limitGuest(tap.index, limits);
  }

  removeTap(name: string): void {
    removeTap(this.#route, name);
  }
}
