/**
 * virtio-serial: the console device with named ports (virtio 1.2, 5.3 with MULTIPORT), byte streams between programs
 * in the guest and sockets on the host.
 *
 * Port 0 belongs to consoles and is not there; the named ones are 1, 2, … Each has a receive and a transmit queue. The
 * driver hears of ports, and both ends of each other's opening and closing, through two control queues. What is to be
 * told waits as bits of each port, so that nothing grows while the driver offers no buffers.
 */
import { ThimbleError } from "../../../base/errors.ts";
import type { ChannelBackend, DeviceState } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { DeviceType } from "../bits.ts";
import {
  ConsoleConfig,
  ConsoleControl,
  ConsoleEvent,
  ConsoleFeature,
  ConsoleQueue,
} from "../console/bits.ts";
import { type Features, features, hasFeature, type VirtioDevice, type VirtioHost } from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { gather, readRegister, scatter } from "../segments.ts";
import { PENDING_ALL, Pending, SerialPort } from "./port.ts";

/** Linux puts a page behind each receive buffer of an open port. */
const QUEUE_SIZE = 32;
const CONTROL_QUEUE_SIZE = 16;
/** Control messages taken in one call. */
const MESSAGES_PER_CALL = 2 * CONTROL_QUEUE_SIZE;
export const SERIAL_PORTS_MAX = 8;
const STATE_VERSION = 1;

export interface NamedChannel {
  /** Printable ASCII: the guest's name for the port. */
  readonly name: string;
  readonly backend: ChannelBackend;
}

export interface SerialOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  /** 1 to SERIAL_PORTS_MAX. */
  readonly channels: readonly NamedChannel[];
}

export class VirtioSerial implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.console;
  /** Simple communication controller, other. */
  readonly classCode = 0x07_80_00;
  readonly features = features(ConsoleFeature.MULTIPORT);
  readonly queueSizes: readonly number[];
  readonly configSize = ConsoleConfig.size;
  readonly busy = false;
  readonly #memory: GuestMemory;
  readonly #ports: readonly SerialPort[];
  readonly #config: Uint8Array<ArrayBuffer>;
  readonly #message = new Uint8Array(ConsoleControl.size);
  #host: VirtioHost | null = null;
  #queues: readonly (VirtQueue | null)[] = [];

  constructor({ name, memory, channels }: SerialOptions) {
    if (channels.length < 1 || channels.length > SERIAL_PORTS_MAX) {
      throw new ThimbleError("bad_ports", `${name}: a device has 1 to ${SERIAL_PORTS_MAX} ports`);
    }
    this.name = name;
    this.#memory = memory;
    const host = {
      defer: ({ id }: SerialPort, queue: "receive" | "transmit") =>
        this.#host?.defer(queueOf(id) + ConsoleQueue[queue]),
      tell: () => this.#tell(),
    };
    this.#ports = channels.map((channel, i) => {
      const bytes = Uint8Array.from(channel.name, (character) => character.charCodeAt(0));
      return new SerialPort(i + 1, bytes, memory, channel.backend, host);
    });
    this.#config = ConsoleConfig.encode({ max_nr_ports: channels.length + 1 });
    this.queueSizes = [
      ...[QUEUE_SIZE, QUEUE_SIZE, CONTROL_QUEUE_SIZE, CONTROL_QUEUE_SIZE],
      ...channels.flatMap(() => [QUEUE_SIZE, QUEUE_SIZE]),
    ];
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  configRead(offset: number, size: number): number {
    return readRegister(this.#config, offset, size);
  }

  configWrite(): void {}

  /** A driver without MULTIPORT would take port 0 for a console, which this is not. */
  accepts(driverFeatures: Features): boolean {
    return hasFeature(driverFeatures, ConsoleFeature.MULTIPORT);
  }

  activate(queues: readonly (VirtQueue | null)[]): void {
    this.#queues = queues;
    for (const port of this.#ports) {
      const first = queueOf(port.id);
      port.activate(
        queues[first + ConsoleQueue.receive] ?? null,
        queues[first + ConsoleQueue.transmit] ?? null,
      );
    }
  }

  handleQueue(index: number): void {
    if (index === ConsoleQueue.controlTransmit) {
      this.#hear();
    } else if (index === ConsoleQueue.controlReceive) {
      this.#tell();
    } else {
      const port = this.#ports[(index >> 1) - 2];
      if ((index & 1) === ConsoleQueue.transmit) port?.output();
      else port?.resume();
    }
  }

  reset(): void {
    this.#queues = [];
    for (const port of this.#ports) port.reset();
  }

  save(): DeviceState {
    const ports = this.#ports.map(({ ready, guestOpen, hostOpen, pending }) => ({
      version: STATE_VERSION,
      ready,
      guestOpen,
      hostOpen,
      pending,
    }));
    return { version: STATE_VERSION, ports };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(this.name, state, STATE_VERSION);
    const saved = from.list("ports", this.#ports.length).map((port) => {
      const fields = new StateReader(this.name, port, STATE_VERSION);
      return {
        ready: fields.flag("ready"),
        guestOpen: fields.flag("guestOpen"),
        hostOpen: fields.flag("hostOpen"),
        pending: fields.integer("pending", 0, PENDING_ALL),
      };
    });
    saved.forEach((port, i) => {
      this.#ports[i]?.restore(port);
    });
    this.#tell();
  }

  /** Control messages of the driver. */
  #hear(): void {
    const queue = this.#queues[ConsoleQueue.controlTransmit];
    if (!queue) return;
    const bytes = this.#message;
    let budget = MESSAGES_PER_CALL;
    do {
      queue.suppressNotifications();
      for (let head = queue.pop(); head >= 0; head = queue.pop()) {
        const size = gather(this.#memory, queue.readable, 0, bytes);
        queue.push(head, 0);
        // Unknown messages are for later versions of the device: no offence.
        if (size === bytes.length) this.#control(bytes);
        if (--budget === 0) {
          queue.flush();
          this.#host?.defer(ConsoleQueue.controlTransmit);
          return;
        }
      }
      queue.flush();
    } while (queue.resumeNotifications());
  }

  #control(bytes: Uint8Array<ArrayBuffer>): void {
    const { id, event, value } = ConsoleControl.decode(bytes);
    const port = this.#ports[id - 1];
    if (event === ConsoleEvent.DEVICE_READY && value === 1) {
      for (const each of this.#ports) each.pending |= Pending.add;
    } else if (port === undefined) {
      return;
    } else if (event === ConsoleEvent.PORT_READY) {
      port.ready = value === 1;
      port.pending = port.ready ? Pending.name | (port.hostOpen ? Pending.open : 0) : 0;
    } else if (event === ConsoleEvent.PORT_OPEN) {
      port.setGuestOpen(value !== 0);
    }
    this.#tell();
  }

  /** Sends what the driver is to be told, as far as it has offered buffers. */
  #tell(): void {
    const queue = this.#queues[ConsoleQueue.controlReceive];
    if (!queue) return;
    for (const port of this.#ports) {
      while (port.pending !== 0) {
        const head = queue.pop();
        if (head < 0) {
          if (queue.resumeNotifications()) continue;
          queue.flush();
          return;
        }
        queue.push(head, scatter(this.#memory, queue.writable, 0, nextMessage(port)));
      }
    }
    queue.flush();
  }
}

/** The first queue of a named port. */
function queueOf(port: number): number {
  return 2 + 2 * port;
}

/** Takes the first of what a port is to tell. */
function nextMessage(port: SerialPort): Uint8Array {
  const bit = port.pending & -port.pending;
  port.pending &= ~bit;
  const { id, name, hostOpen } = port;
  if (bit === Pending.add) return ConsoleControl.encode({ id, event: ConsoleEvent.PORT_ADD, value: 1 });
  if (bit === Pending.open) {
    return ConsoleControl.encode({ id, event: ConsoleEvent.PORT_OPEN, value: hostOpen ? 1 : 0 });
  }
  const message = new Uint8Array(ConsoleControl.size + name.length);
  message.set(ConsoleControl.encode({ id, event: ConsoleEvent.PORT_NAME, value: 1 }));
  message.set(name, ConsoleControl.size);
  return message;
}
