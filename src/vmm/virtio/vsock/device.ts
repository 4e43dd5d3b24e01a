/**
 * virtio-vsock: virtio 1.2, 5.10. Stream and sequenced-packet sockets between guest and host.
 *
 * Packets are the kernel's business (vhost-vsock): it has the host's sockets. Here are the configuration, the hand-over
 * of the two packet queues, and the event queue, which carries one event: that all connections are gone.
 */
import type { DeviceState } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { DeviceType } from "../bits.ts";
import { type Features, features, NO_FEATURES, type VirtioDevice, type VirtioHost } from "../device.ts";
import type { KernelBackend } from "../kernel-backend.ts";
import type { VirtQueue } from "../queue.ts";
import { readRegister, scatter } from "../segments.ts";
import {
  VSOCK_EVENT_TRANSPORT_RESET,
  VsockConfigSpace,
  VsockEvent,
  VsockFeature,
  VsockQueue,
} from "./bits.ts";

const QUEUE_SIZE = 128;
const EVENT_QUEUE_SIZE = 8;
const STATE_VERSION = 1;

export interface VsockOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  /** The guest's context id. */
  readonly cid: number;
  readonly kernel: KernelBackend;
  readonly log: (message: string) => void;
}

export class VirtioVsock implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.vsock;
  /** Simple communication controller, other. */
  readonly classCode = 0x07_80_00;
  readonly features = features(VsockFeature.SEQPACKET);
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, EVENT_QUEUE_SIZE];
  readonly configSize = VsockConfigSpace.size;
  readonly busy = false;
  readonly #options: VsockOptions;
  readonly #config: Uint8Array<ArrayBuffer>;
  #host: VirtioHost | null = null;
  #queues: readonly (VirtQueue | null)[] = [];
  #driver: Features = NO_FEATURES;
  #kernelRuns = false;
  /** Saved, and going on: the kernel is to have its rings again. */
  #interrupted = false;
  /** The driver is to be told that its connections are gone. */
  #resetPending = false;

  constructor(options: VsockOptions) {
    this.name = options.name;
    this.#options = options;
    this.#config = VsockConfigSpace.encode({ guest_cid: options.cid });
  }

  /** Whether the kernel serves the driver. */
  get kernelRuns(): boolean {
    return this.#kernelRuns;
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  configRead(offset: number, size: number): number {
    return readRegister(this.#config, offset, size);
  }

  configWrite(): void {}

  activate(queues: readonly (VirtQueue | null)[], driverFeatures: Features): void {
    this.#queues = queues;
    this.#driver = driverFeatures;
    this.#kernelRuns = this.#start();
  }

  handleQueue(index: number): void {
    if (index === VsockQueue.event) this.#tell();
    else if (this.#kernelRuns) this.#options.kernel.kick(index);
    else if (this.#interrupted) {
      this.#interrupted = false;
      this.#kernelRuns = this.#start();
    }
  }

  callFdChanged(index: number, callFd: number): void {
    if (this.#kernelRuns && index !== VsockQueue.event) this.#options.kernel.setCallFd(index, callFd);
  }

  reset(): void {
    if (this.#kernelRuns) this.#options.kernel.stop();
    this.#kernelRuns = this.#interrupted = this.#resetPending = false;
    this.#queues = [];
    this.#driver = NO_FEATURES;
  }

  /** The rings come back first, so that the queues' positions tell all; the kernel gets them again soon. */
  save(): DeviceState {
    if (this.#kernelRuns) {
      this.#kernelRuns = false;
      this.#interrupted = true;
      this.#host?.defer(VsockQueue.receive);
      this.#options.kernel.stop().forEach((nextAvailable, index) => {
        this.#host?.takeBack(index, nextAvailable);
      });
    }
    return { version: STATE_VERSION, resetPending: this.#resetPending };
  }

  restore(state: DeviceState): void {
    this.#resetPending = new StateReader(this.name, state, STATE_VERSION).flag("resetPending");
  }

  /** After a restore in another process, where the host's ends of all connections have stayed behind. */
  connectionsLost(): void {
    // A device that waits for a reset has nobody to tell, as after a restore of its state.
    this.#resetPending = this.#queues[VsockQueue.event]?.running === true;
    this.#tell();
  }

  #start(): boolean {
    const { kernel, log } = this.#options;
    const host = this.#host;
    const queues = this.#queues;
    if (host === null || !queues[VsockQueue.receive] || !queues[VsockQueue.transmit]) return false;
    const receive = kernel.supports(this.#driver) ? host.handOver(VsockQueue.receive) : null;
    const transmit = receive && host.handOver(VsockQueue.transmit);
    if (transmit && kernel.start([receive, transmit], this.#driver)) return true;
    for (const ring of [receive, transmit]) {
      if (ring !== null) host.takeBack(ring.index, ring.nextAvailable);
    }
    log(`${this.name}: the kernel does not serve this driver, which may be one without MSI-X`);
    return false;
  }

  #tell(): void {
    const queue = this.#queues[VsockQueue.event];
    if (!queue || !this.#resetPending) return;
    const head = queue.pop();
    if (head < 0) {
      if (queue.resumeNotifications()) this.#host?.defer(VsockQueue.event);
      return;
    }
    const event = VsockEvent.encode({ id: VSOCK_EVENT_TRANSPORT_RESET });
    queue.push(head, scatter(this.#options.memory, queue.writable, 0, event));
    queue.flush();
    this.#resetPending = false;
  }
}
