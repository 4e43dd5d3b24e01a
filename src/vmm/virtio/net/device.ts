/**
 * virtio-net: virtio 1.2, 5.1.
 *
 * Frames travel with their 12-byte header as it is: the tap speaks the same one (IFF_VNET_HDR, header size 12), so
 * checksum and segmentation offloads need no work here. Where the kernel has vhost-net, receive and transmit queues
 * are its business and only the control queue is served here.
 *
 * Nothing is filtered: the device delivers what the switch sends its way, which 5.1.6.5.1 allows ("best effort").
 */
import { ThimbleError } from "../../../base/errors.ts";
import type { DeviceState, NetBackend } from "../../contract.ts";
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
import type { KernelBackend } from "../kernel-backend.ts";
import type { VirtQueue } from "../queue.ts";
import { gather, readRegister, scatter } from "../segments.ts";
import {
  CTRL_GUEST_OFFLOADS_SET,
  CTRL_RX_COMMANDS,
  CtrlAck,
  CtrlClass,
  CtrlGuestOffloads,
  CtrlHeader,
  CtrlMac,
  CtrlMacTable,
  MAC_SIZE,
  NET_STATUS_LINK_UP,
  NetConfig,
  NetFeature,
  NetHeader,
  NetQueue,
  TunOffload,
} from "./bits.ts";
import { Receiver } from "./receive.ts";

const QUEUE_SIZE = 256;
const CONTROL_QUEUE_SIZE = 64;
/** Frames moved in one call before other events have their turn. */
const FRAMES_PER_CALL = 256;
/** Commands with their data: the longest useful one is a MAC table of some hundred entries. */
const COMMAND_BYTES_MAX = 4096;
const STATE_VERSION = 1;

/** Guest offloads and the tap's bit for each. */
const OFFLOADS = [
  [NetFeature.GUEST_CSUM, TunOffload.CSUM],
  [NetFeature.GUEST_TSO4, TunOffload.TSO4],
  [NetFeature.GUEST_TSO6, TunOffload.TSO6],
  [NetFeature.GUEST_ECN, TunOffload.TSO_ECN],
] as const;

/** Features that are only allowed with another one (5.1.3.1). */
const REQUIRES = [
  [NetFeature.GUEST_TSO4, NetFeature.GUEST_CSUM],
  [NetFeature.GUEST_TSO6, NetFeature.GUEST_CSUM],
  [NetFeature.HOST_TSO4, NetFeature.CSUM],
  [NetFeature.HOST_TSO6, NetFeature.CSUM],
  [NetFeature.CTRL_RX, NetFeature.CTRL_VQ],
  [NetFeature.CTRL_MAC_ADDR, NetFeature.CTRL_VQ],
  [NetFeature.CTRL_GUEST_OFFLOADS, NetFeature.CTRL_VQ],
] as const;

export interface NetOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  readonly backend: NetBackend;
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** vhost-net, where the host has it. */
  readonly kernel?: KernelBackend | null;
}

export class VirtioNet implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.net;
  /** Ethernet controller. */
  readonly classCode = 0x02_00_00;
  readonly features = features(...Object.values(NetFeature));
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, CONTROL_QUEUE_SIZE];
  readonly configSize = NetConfig.size;
  readonly busy = false;

  readonly #memory: GuestMemory;
  readonly #backend: NetBackend;
  readonly #kernel: KernelBackend | null;
  readonly #mac: Uint8Array;
  readonly #config: Uint8Array<ArrayBuffer>;
  readonly #receiver: Receiver;
  #host: VirtioHost | null = null;
  #queues: readonly (VirtQueue | null)[] = [];
  #driver: Features = NO_FEATURES;
  #kernelRuns = false;
  /** TunOffload bits in force. */
  #offloads = 0;
  /** The backend tells of frames; off while the driver has offered no buffers. */
  #listening = false;
  readonly #onReadable = () => this.#receive();

  constructor(options: NetOptions) {
    if (options.mac.length !== MAC_SIZE) {
      throw new ThimbleError("bad_mac", `${options.name}: a MAC address has ${MAC_SIZE} bytes`);
    }
    this.name = options.name;
    this.#memory = options.memory;
    this.#backend = options.backend;
    this.#kernel = options.kernel ?? null;
    this.#mac = options.mac.slice();
    this.#config = NetConfig.encode({ mac: options.mac, status: NET_STATUS_LINK_UP, max_virtqueue_pairs: 1 });
    this.#receiver = new Receiver(options.memory, options.backend, QUEUE_SIZE);
  }

  /** Whether the driver's frames are moved by vhost-net now. */
  get kernelRuns(): boolean {
    return this.#kernelRuns;
  }

  connect(host: VirtioHost): void {
    this.#host = host;
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
    this.#queues = queues;
    this.#driver = driverFeatures;
    let offloads = 0;
    for (const [feature, flag] of OFFLOADS) if (hasFeature(driverFeatures, feature)) offloads |= flag;
    this.#setOffloads(offloads);
    this.#kernelRuns = this.#startKernel();
  }

  handleQueue(index: number): void {
    if (index === NetQueue.control) this.#control();
    else if (this.#kernelRuns) this.#kernel?.kick(index);
    else if (index === NetQueue.transmit) this.#transmit();
    else this.#receive();
  }

  callFdChanged(index: number, callFd: number): void {
    if (this.#kernelRuns) this.#kernel?.setCallFd(index, callFd);
  }

  reset(): void {
    if (this.#kernelRuns) this.#kernel?.stop();
    this.#kernelRuns = false;
    this.#listen(false);
    this.#receiver.forget();
    if (this.#queues.length > 0) this.#backend.setOffload(0);
    this.#queues = [];
    this.#driver = NO_FEATURES;
    NetConfig.patch(this.#config, 0, { mac: this.#mac });
  }

  /** Chains taken ahead and rings in the kernel come back first, so that the queues' positions tell all. */
  save(): DeviceState {
    this.#stopKernel();
    const receive = this.#queues[NetQueue.receive];
    if (receive) this.#receiver.giveBack(receive);
    return { version: STATE_VERSION, config: [...this.#config], offloads: this.#offloads };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(this.name, state, STATE_VERSION);
    const offloads = from.u32("offloads");
    this.#config.set(from.exactBytes("config", this.#config.length));
    this.#setOffloads(offloads);
  }

  #startKernel(): boolean {
    const kernel = this.#kernel;
    const host = this.#host;
    if (kernel === null || host === null || !kernel.supports(this.#driver)) return false;
    const rings = [];
    for (const index of [NetQueue.receive, NetQueue.transmit]) {
      const ring = this.#queues[index] ? host.handOver(index) : null;
      if (ring === null) break;
      rings.push(ring);
    }
    if (rings.length === 2 && kernel.start(rings, this.#driver)) return true;
    for (const ring of rings) host.takeBack(ring.index, ring.nextAvailable);
    return false;
  }

  #stopKernel(): void {
    if (!this.#kernelRuns || this.#kernel === null) return;
    this.#kernelRuns = false;
    this.#kernel.stop().forEach((nextAvailable, index) => {
      this.#host?.takeBack(index, nextAvailable);
    });
  }

  #setOffloads(flags: number): void {
    this.#offloads = flags;
    this.#backend.setOffload(flags);
    const segments = (flags & (TunOffload.TSO4 | TunOffload.TSO6)) !== 0;
    const receive = this.#queues[NetQueue.receive];
    if (receive) this.#receiver.giveBack(receive);
    this.#receiver.configure(hasFeature(this.#driver, NetFeature.MRG_RXBUF), segments);
  }

  #listen(listening: boolean): void {
    if (listening === this.#listening) return;
    this.#listening = listening;
    this.#backend.onReadable(listening ? this.#onReadable : null);
  }

  #receive(): void {
    const queue = this.#queues[NetQueue.receive];
    if (!queue || this.#kernelRuns) return;
    for (;;) {
      queue.suppressNotifications();
      const end = this.#receiver.receive(queue, FRAMES_PER_CALL);
      queue.flush();
      if (end === "budget") {
        this.#host?.defer(NetQueue.receive);
        return;
      }
      // Without buffers the driver rings when it offers some again; until then frames wait in the tap.
      if (end !== "no_buffers" || !queue.resumeNotifications()) {
        this.#listen(end === "no_frames");
        return;
      }
    }
  }

  #transmit(): void {
    const queue = this.#queues[NetQueue.transmit];
    if (!queue) return;
    const backend = this.#backend;
    let budget = FRAMES_PER_CALL;
    do {
      queue.suppressNotifications();
      for (let head = queue.pop(); head >= 0; head = queue.pop()) {
        // What the tap does not take (too short, bad offload request, queue full) is lost, as on a wire.
        if (queue.readableBytes > NetHeader.size) backend.send(queue.readable);
        queue.push(head, 0);
        if (--budget === 0) {
          queue.flush();
          this.#host?.defer(NetQueue.transmit);
          return;
        }
      }
      queue.flush();
    } while (queue.resumeNotifications());
  }

  #control(): void {
    const queue = this.#queues[NetQueue.control];
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
          this.#host?.defer(NetQueue.control);
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
      case CtrlClass.GUEST_OFFLOADS: {
        if (header.command !== CTRL_GUEST_OFFLOADS_SET || data.length < CtrlGuestOffloads.size) return false;
        return this.#guestOffloads(CtrlGuestOffloads.decode(data).offloads);
      }
      default:
        return false;
    }
  }

  /** Only what was negotiated may be switched on and off (5.1.6.5.6.1). */
  #guestOffloads(wanted: number): boolean {
    let flags = 0;
    let left = wanted;
    for (const [feature, flag] of OFFLOADS) {
      const bit = 1 << feature;
      if (left > 0xffff_ffff || (left & bit) === 0) continue;
      if (!hasFeature(this.#driver, feature)) return false;
      flags |= flag;
      left -= bit;
    }
    if (left !== 0) return false;
    this.#setOffloads(flags);
    // Buffers taken ahead went back into the queue: look at them again.
    this.#host?.defer(NetQueue.receive);
    return true;
  }
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
