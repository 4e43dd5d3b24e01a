/**
 * A pair of a receive and a transmit queue, on one queue of the tap. While it is on, vhost-net moves its frames, or this
 * file does where the kernel cannot. Pairs know nothing of each other.
 */
import type { NetBackend } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { type Features, hasFeature, type KernelRing, NO_FEATURES, type VirtioHost } from "../device.ts";
import type { KernelBackend } from "../kernel-backend.ts";
import type { VirtQueue } from "../queue.ts";
import { NetFeature, NetQueue, QUEUES_PER_PAIR } from "./bits.ts";
import { Receiver } from "./receive.ts";

export const QUEUE_SIZE = 256;
/** Frames moved in one call before other events have their turn. */
const FRAMES_PER_CALL = 256;
// A literal, because the bundler then puts it into the code; device.test.ts compares it with bits.ts.
const HEADER_SIZE = 12;
/** For the test that compares the literals with bits.ts. */
export const LITERALS = { HEADER_SIZE };

/** What a pair moves frames with. */
export interface NetPairBackends {
  readonly backend: NetBackend;
  /** vhost-net, where the host has it. */
  readonly kernel?: KernelBackend | null;
}

export class QueuePair {
  /** Whether frames may pass. */
  isOn = false;
  /** Whether vhost-net moves them. */
  kernelRuns = false;
  private readonly memory: GuestMemory;
  private readonly backend: NetBackend;
  private readonly kernel: KernelBackend | null;
  /** Queue numbers of the device. */
  private readonly receiveIndex: number;
  private readonly transmitIndex: number;
  private host: VirtioHost | null = null;
  private receiveQueue: VirtQueue | null = null;
  private transmitQueue: VirtQueue | null = null;
  private driver: Features = NO_FEATURES;
  private takesSegments = false;
  /** Made when it is first needed: with vhost-net never. */
  private receiver: Receiver | null = null;
  /** The backend tells of frames; off while the driver has offered no buffers. */
  private listening = false;
  private readonly onReadable = () => this.receive();

  constructor(
    memory: GuestMemory,
    { backend, kernel }: NetPairBackends,
    private readonly number: number,
  ) {
    this.memory = memory;
    this.backend = backend;
    this.kernel = kernel ?? null;
    this.receiveIndex = QUEUES_PER_PAIR * number + NetQueue.receive;
    this.transmitIndex = QUEUES_PER_PAIR * number + NetQueue.transmit;
  }

  /** Whether the driver has set both queues up. */
  get isReady(): boolean {
    return this.receiveQueue !== null && this.transmitQueue !== null;
  }

  connect(host: VirtioHost): void {
    this.host = host;
  }

  /** A driver is there. No frame passes before `turn`. */
  start(queues: readonly (VirtQueue | null)[], driverFeatures: Features): void {
    this.receiveQueue = queues[this.receiveIndex] ?? null;
    this.transmitQueue = queues[this.transmitIndex] ?? null;
    this.driver = driverFeatures;
  }

  /** The driver has gone. */
  reset(): void {
    if (this.kernelRuns) this.kernel?.stop();
    this.kernelRuns = false;
    this.listen(false);
    this.receiver?.forget();
    if (this.isOn) this.attach(false);
    this.isOn = false;
    this.receiveQueue = this.transmitQueue = null;
    this.driver = NO_FEATURES;
  }

  /** Lets frames pass, or no more. */
  turn(on: boolean): void {
    if (on === this.isOn) return;
    this.isOn = on;
    if (on) {
      this.attach(true);
      this.kernelRuns = this.startKernel();
      if (this.kernelRuns) return;
      this.host?.defer(this.receiveIndex);
      this.host?.defer(this.transmitIndex);
    } else {
      this.pause();
      this.listen(false);
      this.attach(false);
    }
  }

  /** `takesSegments`: the guest takes frames longer than the wire's. */
  configure(takesSegments: boolean): void {
    this.takesSegments = takesSegments;
    if (this.receiver === null) return;
    this.giveBack();
    this.receiver.configure(hasFeature(this.driver, NetFeature.MRG_RXBUF), takesSegments);
    // Buffers taken ahead went back into the queue: look at them again.
    this.host?.defer(this.receiveIndex);
  }

  /** Chains taken ahead and rings in the kernel come back, so that the queues' positions tell all. */
  pause(): void {
    if (this.kernelRuns && this.kernel !== null) {
      this.kernelRuns = false;
      this.kernel.stop().forEach((nextAvailable, i) => {
        this.host?.takeBack(this.receiveIndex + i, nextAvailable);
      });
    }
    this.giveBack();
  }

  /** The driver rang for a queue of the pair: NetQueue.receive or transmit. */
  handle(which: number): void {
    if (!this.isOn) return;
    if (this.kernelRuns) this.kernel?.kick(which);
    else if (which === NetQueue.transmit) this.transmit();
    else this.receive();
  }

  callFdChanged(which: number, callFd: number): void {
    if (this.kernelRuns) this.kernel?.setCallFd(which, callFd);
  }

  private startKernel(): boolean {
    const { kernel, host } = this;
    if (kernel === null || host === null || !kernel.supports(this.driver)) return false;
    const rings: KernelRing[] = [];
    for (const index of this.isReady ? [this.receiveIndex, this.transmitIndex] : []) {
      const ring = host.handOver(index);
      if (ring === null) break;
      rings.push(ring);
    }
    if (rings.length === QUEUES_PER_PAIR && kernel.start(rings, this.driver)) return true;
    for (const ring of rings) host.takeBack(ring.index, ring.nextAvailable);
    return false;
  }

  /** The first pair's queue is always the tap's. */
  private attach(attached: boolean): void {
    if (this.number > 0) this.backend.setAttached(attached);
  }

  private giveBack(): void {
    if (this.receiveQueue !== null) this.receiver?.giveBack(this.receiveQueue);
  }

  private listen(listening: boolean): void {
    if (listening === this.listening) return;
    this.listening = listening;
    this.backend.onReadable(listening ? this.onReadable : null);
  }

  private makeReceiver(): Receiver {
    const receiver = new Receiver(this.memory, this.backend, QUEUE_SIZE);
    receiver.configure(hasFeature(this.driver, NetFeature.MRG_RXBUF), this.takesSegments);
    this.receiver = receiver;
    return receiver;
  }

  private receive(): void {
    const queue = this.receiveQueue;
    if (queue === null || !this.isOn || this.kernelRuns) return;
    const receiver = this.receiver ?? this.makeReceiver();
    for (;;) {
      queue.suppressNotifications();
      const end = receiver.receive(queue, FRAMES_PER_CALL);
      queue.flush();
      if (end === "budget") {
        this.host?.defer(this.receiveIndex);
        return;
      }
      // Without buffers the driver rings when it offers some again; until then frames wait in the tap.
      if (end !== "no_buffers" || !queue.resumeNotifications()) {
        this.listen(end === "no_frames");
        return;
      }
    }
  }

  private transmit(): void {
    const queue = this.transmitQueue;
    if (queue === null) return;
    const backend = this.backend;
    let budget = FRAMES_PER_CALL;
    do {
      queue.suppressNotifications();
      for (let head = queue.pop(); head >= 0; head = queue.pop()) {
        // What the tap does not take (too short, bad offload request, queue full) is lost, as on a wire.
        if (queue.readableBytes > HEADER_SIZE) backend.send(queue.readable);
        queue.push(head, 0);
        if (--budget === 0) {
          queue.flush();
          this.host?.defer(this.transmitIndex);
          return;
        }
      }
      queue.flush();
    } while (queue.resumeNotifications());
  }
}
