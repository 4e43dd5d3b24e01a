/** One named port: its two queues, whether each end is open, and what the driver is still to be told of it. */
import type { ChannelBackend } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { drain, fill } from "../console/streams.ts";
import type { VirtQueue } from "../queue.ts";

/** Messages that wait for a control buffer; sent in this order, each once with what holds then. */
export const Pending = { add: 1, name: 2, open: 4 } as const;
export const PENDING_ALL = Pending.add | Pending.name | Pending.open;

/** What of a port is saved. */
export type PortState = Pick<SerialPort, "ready" | "guestOpen" | "hostOpen" | "pending">;

/** What a port's device does for it. */
export interface PortHost {
  /** Runs `handleQueue` of the port's receive or transmit queue soon. */
  defer(port: SerialPort, queue: "receive" | "transmit"): void;
  /** `pending` has grown. */
  tell(): void;
}

export class SerialPort {
  /** Pending bits. */
  pending = 0;
  /** The driver knows the port and wants to be told of it. */
  ready = false;
  /** A program in the guest has the port open. */
  guestOpen = false;
  /** A peer is connected on the host. */
  hostOpen = false;
  /** The guest has closed it; what it had written before is still on its way. */
  closing = false;
  #receive: VirtQueue | null = null;
  #transmit: VirtQueue | null = null;

  constructor(
    /** Its number in control messages. */
    readonly id: number,
    readonly name: Uint8Array,
    private readonly memory: GuestMemory,
    private readonly backend: ChannelBackend,
    private readonly host: PortHost,
  ) {
    backend.connect({
      input: (bytes) => this.#input(bytes),
      connected: (isConnected) => this.#connected(isConnected),
      room: () => this.output(),
    });
  }

  activate(receive: VirtQueue | null, transmit: VirtQueue | null): void {
    this.#receive = receive;
    this.#transmit = transmit;
  }

  /** The driver has offered receive buffers. */
  resume(): void {
    this.backend.resume();
  }

  /** The driver has written something. */
  output(): void {
    const queue = this.#transmit;
    if (queue === null) return;
    const isEmpty = drain(this.memory, queue, this.backend, () => this.host.defer(this, "transmit"));
    if (isEmpty && this.closing) this.#close();
  }

  /** A program in the guest opens or closes it. */
  setGuestOpen(open: boolean): void {
    if (this.closing) this.#close();
    if (open === this.guestOpen) return;
    this.guestOpen = open;
    if (open) {
      this.backend.setOpen(true);
    } else {
      // The message may overtake what was written before it.
      this.closing = true;
      this.output();
      if (this.#transmit === null) this.#close();
    }
  }

  reset(): void {
    this.#receive = this.#transmit = null;
    this.ready = this.guestOpen = false;
    this.pending = 0;
    this.#close();
  }

  /** Takes up where a saved port was, whose peer has stayed behind: the driver is told so. */
  restore({ ready, guestOpen, hostOpen, pending }: PortState): void {
    this.ready = ready;
    this.pending = pending | (ready && hostOpen ? Pending.open : 0);
    this.guestOpen = guestOpen;
    this.backend.setOpen(guestOpen);
  }

  #close(): void {
    this.closing = false;
    this.hostOpen = false;
    this.backend.setOpen(false);
    if (this.ready) {
      this.pending |= Pending.open;
      this.host.tell();
    }
  }

  #connected(isConnected: boolean): void {
    if (isConnected === this.hostOpen) return;
    this.hostOpen = isConnected;
    if (!this.ready) return;
    this.pending |= Pending.open;
    this.host.tell();
  }

  #input(bytes: Uint8Array): number {
    const queue = this.#receive;
    if (queue === null || !this.guestOpen) return bytes.length;
    return fill(this.memory, queue, bytes, () => this.host.defer(this, "receive"));
  }
}
