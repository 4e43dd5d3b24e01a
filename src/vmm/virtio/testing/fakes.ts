/** Backends of packets and characters that a test looks into. */
import type { ChannelBackend, ChannelEvents, CharBackend, NetBackend, SegmentList } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { KernelRing } from "../device.ts";
import type { KernelBackend } from "../kernel-backend.ts";
import { gather, scatter } from "../segments.ts";

export class TestTap implements NetBackend {
  readonly fd = -1;
  /** Frames with header that the guest sent. */
  readonly sent: Uint8Array[] = [];
  /** Frames with header that wait for the guest. */
  readonly waiting: Uint8Array[] = [];
  readonly hasUdpSegmentation = true;
  offload = 0;
  attached = true;
  callback: (() => void) | null = null;

  constructor(readonly memory: GuestMemory) {}

  send(segments: SegmentList): number {
    const frame = new Uint8Array(0x20000);
    this.sent.push(frame.slice(0, gather(this.memory, segments, 0, frame)));
    return 0;
  }

  readonly overflow = new Uint8Array(0x20000);

  receive(segments: SegmentList): number {
    const frame = this.waiting.shift();
    if (frame === undefined) return 0;
    this.overflow.set(frame.subarray(scatter(this.memory, segments, 0, frame)));
    return frame.length;
  }

  onReadable(callback: (() => void) | null): void {
    this.callback = callback;
  }

  setOffload(flags: number): void {
    this.offload = flags;
  }

  setAttached(attached: boolean): void {
    this.attached = attached;
  }

  close(): void {}

  /** A frame arrives: header, then `size` bytes of which each is its position plus `mark`. */
  arrive(size: number, mark: number): Uint8Array {
    const frame = Uint8Array.from({ length: 12 + size }, (_, i) => (i < 12 ? 0 : i + mark));
    this.waiting.push(frame);
    this.callback?.();
    return frame;
  }
}

export class TestTerminal implements CharBackend {
  output = "";
  #receiver: (bytes: Uint8Array) => number = (bytes) => bytes.length;
  #waiting = new Uint8Array(0);

  write(bytes: Uint8Array): void {
    this.output += String.fromCharCode(...bytes);
  }

  onInput(receiver: (bytes: Uint8Array) => number): void {
    this.#receiver = receiver;
  }

  resume(): void {
    const taken = this.#receiver(this.#waiting);
    this.#waiting = this.#waiting.slice(taken);
  }

  /** Bytes typed and not taken yet. */
  get pending(): number {
    return this.#waiting.length;
  }

  /** Takes back what was typed and not taken. */
  clear(): void {
    this.#waiting = new Uint8Array(0);
  }

  type(text: string): void {
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const joined = new Uint8Array(this.#waiting.length + bytes.length);
    joined.set(this.#waiting);
    joined.set(bytes, this.#waiting.length);
    this.#waiting = joined;
    this.resume();
  }
}

export class TestChannel implements ChannelBackend {
  /** What the peer has got. */
  output = "";
  /** Bytes that the guest wrote, whether a peer has got them or not. */
  written = 0;
  open = false;
  hasPeer = false;
  hasRoom = true;
  events: ChannelEvents | null = null;
  #waiting = new Uint8Array(0);

  connect(events: ChannelEvents): void {
    this.events = events;
  }

  write(bytes: Uint8Array): void {
    this.written += bytes.length;
    if (this.hasPeer) this.output += String.fromCharCode(...bytes);
  }

  setOpen(open: boolean): void {
    this.open = open;
    if (!open) this.hasPeer = false;
  }

  resume(): void {
    const taken = this.events?.input(this.#waiting) ?? 0;
    this.#waiting = this.#waiting.slice(taken);
  }

  /** A peer comes (when the guest has the channel open) or goes. */
  peer(comes: boolean): void {
    if (comes === this.hasPeer || (comes && !this.open)) return;
    this.hasPeer = comes;
    if (!comes) this.#waiting = new Uint8Array(0);
    this.events?.connected(comes);
  }

  setRoom(hasRoom: boolean): void {
    this.hasRoom = hasRoom;
    if (hasRoom) this.events?.room();
  }

  /** Bytes sent and not taken yet. */
  get pending(): number {
    return this.#waiting.length;
  }

  send(text: string): void {
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const joined = new Uint8Array(this.#waiting.length + bytes.length);
    joined.set(this.#waiting);
    joined.set(bytes, this.#waiting.length);
    this.#waiting = joined;
    this.resume();
  }
}

/** A vhost device that notes what it is told; it takes whatever rings it is given. */
export class TestKernel implements KernelBackend {
  rings: readonly KernelRing[] | null = null;
  readonly calls: string[] = [];
  accepts = true;
  /** How far the kernel has got in each ring since its start. */
  advanced = 0;

  supports(): boolean {
    return this.accepts;
  }

  start(rings: readonly KernelRing[]): boolean {
    this.calls.push("start");
    this.rings = rings;
    return true;
  }

  stop(): readonly number[] {
    this.calls.push("stop");
    const stopped = (this.rings ?? []).map(({ nextAvailable }) => nextAvailable + this.advanced);
    this.rings = null;
    return stopped;
  }

  kick(queue: number): void {
    this.calls.push(`kick ${queue}`);
  }

  setCallFd(queue: number, callFd: number): void {
    this.calls.push(`call ${queue} ${callFd}`);
  }
}
