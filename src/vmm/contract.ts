/**
 * What a device model sees of the rest of the machine, and what the machine sees of a device. Nothing here knows of
 * KVM, the runtime or Node, so every device runs under the unit-test runner as it does in the image.
 */
import type { GuestPhysical } from "../base/addresses.ts";

/** Plain data (JSON) that restores a device; `version` grows when its shape changes. */
export interface DeviceState {
  readonly version: number;
  readonly [field: string]: unknown;
}

/** Anything whose state is part of the machine's. */
export interface Stateful {
  /** Back to the state after power-on. */
  reset(): void;
  save(): DeviceState;
  /** Throws ThimbleError("bad_state") when the state is not one `save` of a known version returned. */
  restore(state: DeviceState): void;
}

/**
 * Registers on a bus. Offsets are relative to the start of the registered range and inside it; `size` is 1, 2 or 4
 * (the bus splits 8-byte accesses, low half first). Values are unsigned. Neither may throw, whatever the guest does.
 */
export interface RegisterBlock {
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

/** A level-triggered line into the interrupt controller. */
export interface InterruptLine {
  set(asserted: boolean): void;
}

/** Time as devices see it; tests supply their own. */
export interface Clock {
  /** Milliseconds that never go back, from an arbitrary start. */
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch. */
  wallMs(): number;
  /** Calls back once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

/** One MSI or MSI-X message as the guest programmed it. */
export interface MsiMessage {
  readonly address: number;
  readonly data: number;
}

/** The host side of one MSI-X vector: in the image an irqfd with a routing entry, in tests a counter. */
export interface MsiRoute {
  /** Sets the message that `trigger` and the irqfd deliver; null while masked or not programmed. */
  update(message: MsiMessage | null): void;
  /** Delivers the message now (lost when none is set; the MSI-X pending bit is the caller's job). */
  trigger(): void;
  /** The eventfd that delivers it from the kernel (vhost), or -1 where there is none. */
  readonly eventFd: number;
}

/** Hands out MSI routes; at most `maxRoutes` in a machine. */
export interface MsiController {
  create(): MsiRoute;
}

/** A doorbell: a guest write to an address that is delivered as a call on the main thread (in the image an ioeventfd). */
export interface Doorbell {
  /** Moves it to an address (BAR moved), or takes it away with null. */
  place(address: GuestPhysical | null): void;
  /** The eventfd the kernel signals (vhost takes it over), or -1 where there is none. */
  readonly eventFd: number;
  /** Stops or resumes calling back on the main thread, for a kernel backend that reads the eventfd itself. */
  setListening(listening: boolean): void;
}

export interface DoorbellController {
  /** `width` is the width in bytes of the write that rings it (2 for virtio queue notification). */
  create(width: number, onRing: () => void): Doorbell;
}

/** A piece of guest memory that a request reads or writes; already checked to lie inside guest memory. */
export interface MemorySegment {
  readonly address: GuestPhysical;
  readonly length: number;
}

/** Result of a block request. `0` or a negative errno. */
export type BlockCompletion = (result: number) => void;

/**
 * Where a block device keeps its data. Requests name byte offsets inside the disk and lists of segments whose total
 * is the transfer size; the device has checked bounds and alignment. Each call completes exactly once, now or later.
 * A list is the device's and changes once the call has returned, or, where the backend gives the runtime lock back
 * meanwhile, even before: the backend takes what it needs of it first.
 */
export interface BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** What offsets and lengths of requests are multiples of: 512, or more. Absent: 512. */
  readonly blockSizeBytes?: number;
  /** Reads into the segments `address[i], length[i]` for i < count. */
  read(offset: number, segments: SegmentList, done: BlockCompletion): void;
  write(offset: number, segments: SegmentList, done: BlockCompletion): void;
  /** Completes when everything completed before it is on stable storage. */
  flush(done: BlockCompletion): void;
  discard(offset: number, length: number, done: BlockCompletion): void;
  /** `mayUnmap`: the range may become a hole. Reads give zeroes afterwards in any case. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean, done: BlockCompletion): void;
  /** No more requests come for now: a backend may have collected them until here. */
  submit(): void;
  /** Flushes and gives the files back, what is in flight first. */
  close(): void;
}

/** A reusable list of guest memory segments: no allocation per request. */
export interface SegmentList {
  count: number;
  readonly address: Float64Array;
  readonly length: Uint32Array;
}

/**
 * A network attachment that moves Ethernet frames, each preceded by the 12-byte virtio_net_hdr_v1; or one queue of an
 * attachment that has several.
 */
export interface NetBackend {
  /** The tap's file descriptor for vhost-net, or -1. */
  readonly fd: number;
  /** Sends header and frame from guest memory. Returns 0 or a negative errno; a full queue drops the frame. */
  send(segments: SegmentList): number;
  /**
   * Receives one header and frame into guest memory; returns its size in bytes, 0 when none is waiting, or a negative errno.
   * What the segments have no room for is in `overflow` then, until the next call.
   */
  receive(segments: SegmentList): number;
  readonly overflow: Uint8Array;
  /** Calls back on the main thread when a frame may be waiting. Disabled, it costs nothing. */
  onReadable(callback: (() => void) | null): void;
  /** Tells the backend which offloads the guest accepts (TUN_F_* bits of linux/if_tun.h): all its queues, by the first. */
  setOffload(flags: number): void;
  /** Whether it segments UDP (TUN_F_USO4 and USO6). */
  readonly hasUdpSegmentation: boolean;
  /** Whether frames come to, and may be sent through, this queue. At first only the first one's do. */
  setAttached(attached: boolean): void;
  close(): void;
}

/** Bytes out to, and in from, a person or program at a serial port or console. */
export interface CharBackend {
  write(bytes: Uint8Array): void;
  /** Sets where input goes. The receiver returns how many bytes it took; the rest is offered again after `resume`. */
  onInput(receiver: (bytes: Uint8Array) => number): void;
  /** Says that the receiver has room again. */
  resume(): void;
}

/** What a channel's other end on the host tells the device. */
export interface ChannelEvents {
  /** Input; returns how many bytes were taken. The rest is offered again after `resume`. */
  input(bytes: Uint8Array): number;
  /** A peer is there, or gone. Told only while the guest has the channel open. */
  connected(isConnected: boolean): void;
  /** `hasRoom` is true again. */
  room(): void;
}

/** The host's end of a named byte stream to a program in the guest; it has one peer at a time. */
export interface ChannelBackend {
  /** Whether `write` is welcome now: the guest waits for a slow peer. */
  readonly hasRoom: boolean;
  /** To be called once, before anything else. */
  connect(events: ChannelEvents): void;
  /** Sends to the peer; lost when there is none. */
  write(bytes: Uint8Array): void;
  /** The guest has opened or closed its end. Closed, the channel has no peer. */
  setOpen(open: boolean): void;
  /** Says that the guest has room again. */
  resume(): void;
}

/** Fills the target with random bytes fit for keys. */
export type EntropySource = (target: Uint8Array) => void;
