/**
 * virtio-net: virtio 1.2, 5.1.
 *
 * Frames travel with their 12-byte header as it is: the tap speaks the same one (IFF_VNET_HDR, header size 12), so
 * checksum and segmentation offloads need no work here. Each pair of queues (pair.ts) has a queue of the tap, and a
 * vhost-net of its own where the kernel has that; only the control queue is served here. The driver says how many pairs
 * it uses; the tap spreads what comes in over those (automatic receive steering, 5.1.6.5.5).
 *
 * Nothing is filtered: the device delivers what the switch sends its way, which 5.1.6.5.1 allows ("best effort").
 */
import { ThimbleError } from "../../../base/errors.ts";
import type { DeviceState } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { DeviceType } from "../bits.ts";
import {
  type Features,
  features,
  hasFeature,
  NO_FEATURES,
  type VirtioDevice,
  type VirtioHost,
} from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { gather, readRegister, scatter } from "../segments.ts";
import {
  CTRL_GUEST_OFFLOADS_SET,
  CTRL_MQ_VQ_PAIRS_SET,
  CTRL_RX_COMMANDS,
  CtrlAck,
  CtrlClass,
  CtrlGuestOffloads,
  CtrlHeader,
  CtrlMac,
  CtrlMacTable,
  CtrlMq,
  MAC_SIZE,
  NET_STATUS_LINK_UP,
  NetConfig,
  NetFeature,
  NetQueue,
  QUEUES_PER_PAIR,
  TunOffload,
} from "./bits.ts";
import { type NetPairBackends, QUEUE_SIZE, QueuePair } from "./pair.ts";

const CONTROL_QUEUE_SIZE = 64;
/** Commands with their data: the longest useful one is a MAC table of some hundred entries. */
const COMMAND_BYTES_MAX = 4096;
const STATE_VERSION = 2;

/** Guest offloads and the tap's bit for each. */
const OFFLOADS = [
  [NetFeature.GUEST_CSUM, TunOffload.CSUM],
  [NetFeature.GUEST_TSO4, TunOffload.TSO4],
  [NetFeature.GUEST_TSO6, TunOffload.TSO6],
  [NetFeature.GUEST_ECN, TunOffload.TSO_ECN],
  [NetFeature.GUEST_USO4, TunOffload.USO4],
  [NetFeature.GUEST_USO6, TunOffload.USO6],
] as const;
/** Of these the guest is given frames longer than the wire's. */
const SEGMENTS = TunOffload.TSO4 | TunOffload.TSO6 | TunOffload.USO4 | TunOffload.USO6;
const UDP_SEGMENTS = TunOffload.USO4 | TunOffload.USO6;

/** Features that are only allowed with another one (5.1.3.1). */
const REQUIRES = [
  [NetFeature.GUEST_TSO4, NetFeature.GUEST_CSUM],
  [NetFeature.GUEST_TSO6, NetFeature.GUEST_CSUM],
  [NetFeature.GUEST_USO4, NetFeature.GUEST_CSUM],
  [NetFeature.GUEST_USO6, NetFeature.GUEST_CSUM],
  [NetFeature.HOST_TSO4, NetFeature.CSUM],
  [NetFeature.HOST_TSO6, NetFeature.CSUM],
  [NetFeature.HOST_USO, NetFeature.CSUM],
  [NetFeature.CTRL_RX, NetFeature.CTRL_VQ],
  [NetFeature.CTRL_MAC_ADDR, NetFeature.CTRL_VQ],
  [NetFeature.CTRL_GUEST_OFFLOADS, NetFeature.CTRL_VQ],
  [NetFeature.MQ, NetFeature.CTRL_VQ],
] as const;

export interface NetOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  /** One for each pair of queues. */
  readonly pairs: readonly NetPairBackends[];
  /** Six bytes. */
  readonly mac: Uint8Array;
}

export class VirtioNet implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.net;
  /** Ethernet controller. */
  readonly classCode = 0x02_00_00;
  readonly features: Features;
  readonly queueSizes: readonly number[];
  readonly configSize = NetConfig.size;
  readonly busy = false;

  readonly #memory: GuestMemory;
  readonly #setTapOffload: (flags: number) => void;
  readonly #pairs: readonly QueuePair[];
  readonly #mac: Uint8Array;
  readonly #config: Uint8Array<ArrayBuffer>;
  #host: VirtioHost | null = null;
  #control: VirtQueue | null = null;
  #controlIndex: number = NetQueue.control;
  #driver: Features = NO_FEATURES;
  /** TunOffload bits in force. */
  #offloads = 0;

  constructor(options: NetOptions) {
    const { name, memory, pairs, mac } = options;
    const first = pairs[0]?.backend;
    if (mac.length !== MAC_SIZE) {
      throw new ThimbleError("bad_mac", `${name}: a MAC address has ${MAC_SIZE} bytes`);
    }
    if (first === undefined)
      throw new ThimbleError("bad_pairs", `${name}: a network device needs a queue pair`);
    this.name = name;
    this.#memory = memory;
    this.#setTapOffload = (flags) => first.setOffload(flags);
    this.#pairs = pairs.map((backends, i) => new QueuePair(memory, backends, i));
    this.#mac = mac.slice();
    const { MQ, GUEST_USO4, GUEST_USO6, HOST_USO, ...always } = NetFeature;
    this.features = features(
      ...Object.values(always),
      ...(pairs.length > 1 ? [MQ] : []),
      ...(first.hasUdpSegmentation ? [GUEST_USO4, GUEST_USO6, HOST_USO] : []),
    );
    this.queueSizes = [...new Array(QUEUES_PER_PAIR * pairs.length).fill(QUEUE_SIZE), CONTROL_QUEUE_SIZE];
    this.#config = NetConfig.encode({ mac, status: NET_STATUS_LINK_UP, max_virtqueue_pairs: pairs.length });
  }

  /** How many pairs' frames vhost-net moves now. */
  get kernelPairs(): number {
    return this.#pairs.filter((pair) => pair.kernelRuns).length;
  }

  connect(host: VirtioHost): void {
    this.#host = host;
    for (const pair of this.#pairs) pair.connect(host);
  }

  /** Plugs or pulls the cable. */
  setLink(up: boolean): void {
    NetConfig.patch(this.#config, 0, { status: up ? NET_STATUS_LINK_UP : 0 });
    this.#host?.configChanged();
  }

  configRead(offset: number, size: number): number {
    return readRegister(this.#config, offset, size);
  }

  /** Only legacy drivers set the MAC address here. */
  configWrite(): void {}

  accepts(driverFeatures: Features): boolean {
    return REQUIRES.every(
      ([one, other]) => !hasFeature(driverFeatures, one) || hasFeature(driverFeatures, other),
    );
  }

  activate(queues: readonly (VirtQueue | null)[], driverFeatures: Features): void {
    this.#driver = driverFeatures;
    const pairs = hasFeature(driverFeatures, NetFeature.MQ) ? this.#pairs.length : 1;
    this.#controlIndex = QUEUES_PER_PAIR * pairs;
    this.#control = queues[this.#controlIndex] ?? null;
    for (let i = 0; i < pairs; i++) this.#pairs[i]?.start(queues, driverFeatures);
    let offloads = 0;
    for (const [feature, flag] of OFFLOADS) if (hasFeature(driverFeatures, feature)) offloads |= flag;
    this.#setOffloads(offloads);
    this.#setPairs(1);
  }

  handleQueue(index: number): void {
    if (index === this.#controlIndex) this.#serveControl();
    else this.#pairs[index >> 1]?.handle(index & 1);
  }

  callFdChanged(index: number, callFd: number): void {
    this.#pairs[index >> 1]?.callFdChanged(index & 1, callFd);
  }

  reset(): void {
    for (const pair of this.#pairs) pair.reset();
    this.#setTapOffload(0);
    this.#offloads = 0;
    this.#control = null;
    this.#driver = NO_FEATURES;
    NetConfig.patch(this.#config, 0, { mac: this.#mac });
  }

  save(): DeviceState {
    for (const pair of this.#pairs) pair.pause();
    const pairs = this.#pairs.filter((pair) => pair.isOn).length;
    return { version: STATE_VERSION, config: [...this.#config], offloads: this.#offloads, pairs };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(this.name, state, STATE_VERSION);
    const offloads = from.u32("offloads");
    const pairs = from.integer("pairs", 0, this.#pairs.length);
    this.#config.set(from.exactBytes("config", this.#config.length));
    // Without a driver no pair is on.
    if (pairs === 0) return;
    this.#setOffloads(offloads);
    // One that waits for a reset has no queues, and needs none.
    if (this.#driver !== NO_FEATURES && !this.#pairsAreReady(pairs)) {
      throw new ThimbleError("bad_state", `${this.name}: a pair that is on has no queues`);
    }
    this.#setPairs(pairs);
  }

  /** Pairs after the first need both their queues, or frames that are steered to them would vanish. */
  #pairsAreReady(count: number): boolean {
    return this.#pairs.slice(1, count).every((pair) => pair.isReady);
  }

  #setPairs(count: number): void {
    this.#pairs.forEach((pair, i) => {
      pair.turn(i < count);
    });
  }

  #setOffloads(flags: number): void {
    this.#offloads = flags;
    // The tap segments UDP over both versions of IP or none.
    const udp = flags & UDP_SEGMENTS;
    this.#setTapOffload(udp === UDP_SEGMENTS ? flags : flags & ~UDP_SEGMENTS);
    for (const pair of this.#pairs) pair.configure((flags & SEGMENTS) !== 0);
  }

  #serveControl(): void {
    const queue = this.#control;
    if (!queue) return;
    let budget = 2 * CONTROL_QUEUE_SIZE;
    do {
      queue.suppressNotifications();
      for (let head = queue.pop(); head >= 0; head = queue.pop()) {
        const size = Math.min(queue.readableBytes, COMMAND_BYTES_MAX);
        if (size < CtrlHeader.size || queue.writableBytes === 0) {
          queue.fail("a control command without header or room for the answer");
          break;
        }
        const command = new Uint8Array(size);
        gather(this.#memory, queue.readable, 0, command);
        const known = queue.readableBytes === size && this.#command(command);
        scatter(this.#memory, queue.writable, 0, Uint8Array.of(known ? CtrlAck.OK : CtrlAck.ERR));
        queue.push(head, 1);
        if (--budget === 0) {
          queue.flush();
          this.#host?.defer(this.#controlIndex);
          return;
        }
      }
      queue.flush();
    } while (queue.resumeNotifications());
  }

  /** Carries out a control command; false when it is none that was negotiated or is malformed. */
  #command(bytes: Uint8Array): boolean {
    const header = CtrlHeader.decode(bytes);
    const data = bytes.subarray(CtrlHeader.size);
    switch (header.class) {
      case CtrlClass.RX:
        return header.command < CTRL_RX_COMMANDS && data.length >= 1;
      case CtrlClass.MAC:
        if (header.command === CtrlMac.ADDR_SET && data.length >= MAC_SIZE) {
          NetConfig.patch(this.#config, 0, { mac: data.subarray(0, MAC_SIZE) });
          return true;
        }
        return header.command === CtrlMac.TABLE_SET && isMacTable(data);
      case CtrlClass.MQ: {
        if (header.command !== CTRL_MQ_VQ_PAIRS_SET || data.length < CtrlMq.size) return false;
        return this.#usePairs(CtrlMq.decode(data).virtqueue_pairs);
      }
      case CtrlClass.GUEST_OFFLOADS: {
        if (header.command !== CTRL_GUEST_OFFLOADS_SET || data.length < CtrlGuestOffloads.size) return false;
        return this.#guestOffloads(CtrlGuestOffloads.decode(data));
      }
      default:
        return false;
    }
  }

  #usePairs(count: number): boolean {
    if (!hasFeature(this.#driver, NetFeature.MQ)) return false;
    if (count < 1 || count > this.#pairs.length || !this.#pairsAreReady(count)) return false;
    this.#setPairs(count);
    return true;
  }

  /** Only what was negotiated may be switched on and off (5.1.6.5.6.1). */
  #guestOffloads(wanted: Features): boolean {
    let left = wanted;
    let flags = 0;
    for (const [feature, flag] of OFFLOADS) {
      if (!hasFeature(left, feature)) continue;
      if (!hasFeature(this.#driver, feature)) return false;
      flags |= flag;
      left = without(left, feature);
    }
    if (left.low !== 0 || left.high !== 0) return false;
    this.#setOffloads(flags);
    return true;
  }
}

function without(set: Features, bit: number): Features {
  const { low, high } = features(bit);
  return { low: (set.low & ~low) >>> 0, high: (set.high & ~high) >>> 0 };
}

/** Two tables, unicast and multicast: a count and as many addresses (5.1.6.5.2). */
function isMacTable(data: Uint8Array): boolean {
  let at = 0;
  for (let table = 0; table < 2; table++) {
    if (at + CtrlMacTable.size > data.length) return false;
    at += CtrlMacTable.size + CtrlMacTable.decode(data, at).entries * MAC_SIZE;
  }
  return at <= data.length;
}

/** "52:54:00:12:34:56" as bytes. Throws ThimbleError("bad_mac") for anything else. */
export function parseMac(text: string): Uint8Array<ArrayBuffer> {
  const parts = text.split(":");
  const bytes = Uint8Array.from(parts, (part) =>
    /^[0-9a-fA-F]{2}$/.test(part) ? Number.parseInt(part, 16) : 0,
  );
  if (parts.length !== MAC_SIZE || !parts.every((part) => /^[0-9a-fA-F]{2}$/.test(part))) {
    throw new ThimbleError("bad_mac", `"${text}" is not a MAC address like 52:54:00:12:34:56`);
  }
  return bytes;
}
