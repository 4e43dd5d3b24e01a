/**
 * A guest's virtio driver for tests: finds the structures through the PCI capabilities as a real one does, negotiates,
 * lays queues out in guest memory, submits chains and collects what comes back.
 */
import { ThimbleError } from "../../../base/errors.ts";
import { CapabilityId, HeaderType0, MsixCapability, MsixControl, MsixEntry } from "../../bus/pci/bits.ts";
import type { PciFunction } from "../../bus/pci/function.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import {
  AvailableHeader,
  CommonCfg,
  Descriptor,
  DescriptorFlag,
  DeviceStatus,
  Feature,
  PciCap,
  PciCapType,
  PciNotifyCap,
  UsedElement,
  UsedHeader,
} from "../bits.ts";
import { type Features, features } from "../device.ts";
import type { VirtioPci } from "../pci-transport.ts";
import type { TestMachine } from "./machine.ts";

/** A buffer of a chain: bytes the device reads, or a number of bytes it may write. */
export type TestBuffer = Uint8Array | number;

/** A chain that came back. */
export interface UsedChain {
  readonly head: number;
  readonly written: number;
  /** The buffers the device could write, in order, as they are now. */
  readonly data: readonly Uint8Array[];
}

/** One queue as the driver sees it. Buffers come from a region of memory given at creation, never freed. */
export class TestQueue {
  #nextBuffer: number;
  #freeDescriptors: number[];
  #available = 0;
  #usedSeen = 0;
  readonly #chains = new Map<number, { descriptors: number[]; writable: [number, number][] }>();

  constructor(
    readonly memory: GuestMemory,
    readonly size: number,
    readonly descriptorTable: number,
    readonly availableRing: number,
    readonly usedRing: number,
    private readonly buffers: { readonly start: number; readonly end: number },
    readonly ring: () => void,
  ) {
    this.#nextBuffer = buffers.start;
    this.#freeDescriptors = Array.from({ length: size }, (_, i) => i);
  }

  /** Writes one descriptor of a table at `table`. */
  setDescriptor(
    table: number,
    index: number,
    address: number,
    length: number,
    flags: number,
    next: number,
  ): void {
    const bytes = Descriptor.encode({
      addressLow: address % 2 ** 32,
      addressHigh: Math.floor(address / 2 ** 32),
      length,
      flags,
      next,
    });
    this.memory.write(table + index * Descriptor.size, bytes);
  }

  /** Makes a chain of the buffers available; returns its head. With `indirect` through a table. */
  submit(chain: readonly TestBuffer[], indirect = false): number {
    const placed = chain.map((buffer) => {
      const length = typeof buffer === "number" ? buffer : buffer.length;
      const address = this.#allocate(length);
      if (typeof buffer !== "number") this.memory.write(address, buffer);
      return { address, length, flags: typeof buffer === "number" ? DescriptorFlag.WRITE : 0 };
    });
    const taken = this.#freeDescriptors.splice(0, indirect ? 1 : placed.length);
    if (taken.length < (indirect ? 1 : placed.length))
      throw new ThimbleError("ring_full", "no free descriptor");
    let table = this.descriptorTable;
    if (indirect) {
      table = this.#allocate(placed.length * Descriptor.size);
      const length = placed.length * Descriptor.size;
      this.setDescriptor(this.descriptorTable, taken[0] as number, table, length, DescriptorFlag.INDIRECT, 0);
    }
    placed.forEach(({ address, length, flags }, i) => {
      const more = i + 1 < placed.length;
      const index = indirect ? i : (taken[i] as number);
      const next = more ? (indirect ? i + 1 : (taken[i + 1] as number)) : 0;
      this.setDescriptor(table, index, address, length, flags | (more ? DescriptorFlag.NEXT : 0), next);
    });
    const head = taken[0] as number;
    const writable = placed.filter((p) => p.flags !== 0).map((p): [number, number] => [p.address, p.length]);
    this.#chains.set(head, { descriptors: taken, writable });
    this.offer(head);
    return head;
  }

  /** Puts a head into the available ring, whatever it is. */
  offer(head: number): void {
    this.#word(this.availableRing + AvailableHeader.size + 2 * (this.#available % this.size), head);
    this.#available = (this.#available + 1) & 0xffff;
    this.#word(this.availableRing + AvailableHeader.offset.index, this.#available);
  }

  /** Submits, rings, and returns what has come back by then. */
  run(chain: readonly TestBuffer[], indirect = false): UsedChain[] {
    this.submit(chain, indirect);
    this.ring();
    return this.collect();
  }

  /** Takes what is new in the used ring. */
  collect(): UsedChain[] {
    const result: UsedChain[] = [];
    const index = this.#readWord(this.usedRing + UsedHeader.offset.index);
    while (this.#usedSeen !== index) {
      const at = this.usedRing + UsedHeader.size + UsedElement.size * (this.#usedSeen % this.size);
      const { id, length } = UsedElement.decode(this.memory.read(at, UsedElement.size));
      const chain = this.#chains.get(id);
      if (chain === undefined)
        throw new ThimbleError("not_submitted", `the device used chain ${id}, which is not its own`);
      this.#chains.delete(id);
      this.#freeDescriptors.push(...chain.descriptors);
      const data = chain.writable.map(([address, size]) => this.memory.read(address, size));
      result.push({ head: id, written: length, data });
      this.#usedSeen = (this.#usedSeen + 1) & 0xffff;
    }
    // With event indices: interrupt for the next one.
    this.#word(this.availableRing + AvailableHeader.size + 2 * this.size, this.#usedSeen);
    return result;
  }

  /** Where the device wants the next ring of the doorbell (avail_event), and the used ring's flags. */
  get availEvent(): number {
    return this.#readWord(this.usedRing + UsedHeader.size + UsedElement.size * this.size);
  }

  get usedFlags(): number {
    return this.#readWord(this.usedRing);
  }

  #allocate(length: number): number {
    const aligned = Math.ceil(this.#nextBuffer / 16) * 16;
    const at = aligned + length > this.buffers.end ? this.buffers.start : aligned;
    if (at + length > this.buffers.end) throw new ThimbleError("buffers_full", "test buffers are too small");
    this.#nextBuffer = at + length;
    return at;
  }

  #word(address: number, value: number): void {
    this.memory.write(address, Uint8Array.of(value, value >> 8));
  }

  #readWord(address: number): number {
    const bytes = this.memory.read(address, 2);
    return (bytes[0] as number) | ((bytes[1] as number) << 8);
  }
}

interface Structure {
  readonly address: number;
  readonly length: number;
}

export interface DriverOptions {
  /** Features to take, as far as offered; VERSION_1 always. Default: all. */
  readonly wanted?: Features;
  readonly queueSize?: number;
  readonly useMsix?: boolean;
  /** Whether to enable queue `index`; default: all. */
  readonly enables?: (index: number) => boolean;
  /** Where queue `index` and its buffers go; default: 1 MiB each from 1 MiB on. */
  readonly place?: (index: number) => number;
}

const at = CommonCfg.offset;
const QUEUE_REGION = 1024 * 1024;
/** Rings take the first part of a queue's region, buffers the rest. */
const RINGS_SIZE = 64 * 1024;

export class TestDriver {
  readonly queues: TestQueue[] = [];
  readonly #machine: TestMachine;
  readonly #function: PciFunction;
  readonly common: number;
  readonly isr: number;
  readonly device: Structure;
  readonly notify: number;
  #notifyMultiplier = 0;

  constructor(machine: TestMachine, transport: VirtioPci) {
    this.#machine = machine;
    this.#function = transport.function;
    this.common = this.#find(PciCapType.COMMON_CFG).address;
    this.isr = this.#find(PciCapType.ISR_CFG).address;
    this.device = this.#find(PciCapType.DEVICE_CFG);
    this.notify = this.#find(PciCapType.NOTIFY_CFG).address;
  }

  get status(): number {
    return this.read("device_status", 1);
  }

  read(field: keyof typeof at, size: number): number {
    return this.#machine.read(this.common + at[field], size);
  }

  write(field: keyof typeof at, size: number, value: number): void {
    this.#machine.write(this.common + at[field], size, value);
  }

  addStatus(bits: number): void {
    this.write("device_status", 1, this.status | bits);
  }

  get offered(): Features {
    this.write("device_feature_select", 4, 0);
    const low = this.read("device_feature", 4);
    this.write("device_feature_select", 4, 1);
    return { low, high: this.read("device_feature", 4) };
  }

  /** Up to FEATURES_OK; returns the features taken. */
  negotiate(wanted?: Features): Features {
    this.write("device_status", 1, 0);
    this.addStatus(DeviceStatus.ACKNOWLEDGE);
    this.addStatus(DeviceStatus.DRIVER);
    const offered = this.offered;
    const version = features(Feature.VERSION_1);
    const taken = {
      low: (offered.low & ((wanted?.low ?? 0xffff_ffff) | version.low)) >>> 0,
      high: (offered.high & ((wanted?.high ?? 0xffff_ffff) | version.high)) >>> 0,
    };
    this.write("driver_feature_select", 4, 0);
    this.write("driver_feature", 4, taken.low);
    this.write("driver_feature_select", 4, 1);
    this.write("driver_feature", 4, taken.high);
    this.addStatus(DeviceStatus.FEATURES_OK);
    if ((this.status & DeviceStatus.FEATURES_OK) === 0) throw new ThimbleError("features", "not accepted");
    return taken;
  }

  /** The whole way to DRIVER_OK, with vector 0 for configuration changes and i + 1 for queue i. */
  start(options: DriverOptions = {}): Features {
    const taken = this.negotiate(options.wanted);
    if (options.useMsix ?? true) {
      this.enableMsix();
      this.write("config_msix_vector", 2, 0);
    }
    this.queues.length = 0;
    const count = this.read("num_queues", 2);
    for (let i = 0; i < count; i++) {
      this.write("queue_select", 2, i);
      if (options.useMsix ?? true) this.write("queue_msix_vector", 2, i + 1);
      this.queues.push(this.#setUpQueue(i, options));
      if (options.enables?.(i) ?? true) this.write("queue_enable", 2, 1);
    }
    this.addStatus(DeviceStatus.DRIVER_OK);
    this.#machine.settle();
    return taken;
  }

  reset(): void {
    this.write("device_status", 1, 0);
  }

  /** Enables MSI-X and unmasks every vector with a message of its own. */
  enableMsix(): void {
    const fn = this.#function;
    const cap = this.#capabilities().find(({ id }) => id === CapabilityId.msix)?.offset as number;
    const msix = MsixCapability.decode(fn.config, cap);
    const table = (fn.barAddress(msix.table & 7) as number) + (msix.table & ~7);
    fn.writeConfig(cap + MsixCapability.offset.messageControl, 2, MsixControl.enable);
    for (let i = 0; i <= (msix.messageControl & MsixControl.tableSizeMask); i++) {
      const entry = table + i * MsixEntry.size;
      this.#machine.write(entry + MsixEntry.offset.addressLow, 4, 0xfee0_0000);
      this.#machine.write(entry + MsixEntry.offset.data, 4, 0x40 + i);
      this.#machine.write(entry + MsixEntry.offset.control, 4, 0);
    }
  }

  #setUpQueue(index: number, options: DriverOptions): TestQueue {
    const size = Math.min(this.read("queue_size", 2), options.queueSize ?? 0x8000);
    const base = options.place?.(index) ?? QUEUE_REGION * (index + 1);
    const available = base + size * Descriptor.size;
    const used = Math.ceil((available + AvailableHeader.size + 2 * size + 2) / 4) * 4;
    const { memory } = this.#machine;
    memory.write(base, new Uint8Array(used + UsedHeader.size + UsedElement.size * size + 2 - base));
    this.write("queue_size", 2, size);
    const addresses = [
      ["queue_desc_low", "queue_desc_high", base],
      ["queue_driver_low", "queue_driver_high", available],
      ["queue_device_low", "queue_device_high", used],
    ] as const;
    for (const [low, high, address] of addresses) {
      this.write(low, 4, address % 2 ** 32);
      this.write(high, 4, Math.floor(address / 2 ** 32));
    }
    const doorbell = this.notify + this.read("queue_notify_off", 2) * this.#notifyMultiplier;
    return new TestQueue(
      memory,
      size,
      base,
      available,
      used,
      { start: base + RINGS_SIZE, end: base + QUEUE_REGION },
      () => {
        this.#machine.write(doorbell, 2, index);
        this.#machine.settle();
      },
    );
  }

  #capabilities(): { id: number; offset: number }[] {
    const config = this.#function.config;
    const list = [];
    let offset = config[HeaderType0.offset.capabilitiesPointer] as number;
    for (let i = 0; offset !== 0 && i < 48; i++) {
      list.push({ id: config[offset] as number, offset });
      offset = config[offset + 1] as number;
    }
    return list;
  }

  #find(type: number): Structure {
    for (const { id, offset } of this.#capabilities()) {
      if (id !== CapabilityId.vendorSpecific) continue;
      const cap = PciCap.decode(this.#function.config, offset);
      if (cap.cfg_type !== type) continue;
      if (type === PciCapType.NOTIFY_CFG) {
        this.#notifyMultiplier = PciNotifyCap.decode(this.#function.config, offset).notify_off_multiplier;
      }
      return { address: (this.#function.barAddress(cap.bar) as number) + cap.offset, length: cap.length };
    }
    throw new ThimbleError("no_structure", `no virtio structure of type ${type}`);
  }
}
