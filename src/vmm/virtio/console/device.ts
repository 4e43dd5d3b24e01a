/**
 * virtio-console with one port: virtio 1.2, 5.3.
 *
 * Output goes to the backend chain by chain. Input is taken only as far as the driver has offered buffers; the rest
 * stays with the backend, which is asked again when the driver rings for the receive queue.
 */
import type { CharBackend, DeviceState } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { DeviceType } from "../bits.ts";
import { type Features, features, type VirtioDevice, type VirtioHost } from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { readRegister } from "../segments.ts";
import { ConsoleConfig, ConsoleFeature, ConsoleQueue } from "./bits.ts";
import { drain, fill } from "./streams.ts";

const QUEUE_SIZE = 64;
const STATE_VERSION = 1;

export interface ConsoleOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  readonly backend: CharBackend;
}

export class VirtioConsole implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.console;
  /** Simple communication controller, other. */
  readonly classCode = 0x07_80_00;
  readonly features = features(ConsoleFeature.SIZE);
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly configSize = ConsoleConfig.size;
  readonly busy = false;
  readonly #memory: GuestMemory;
  readonly #backend: CharBackend;
  readonly #config = ConsoleConfig.encode({ cols: 80, rows: 25, max_nr_ports: 1 });
  #host: VirtioHost | null = null;
  #receive: VirtQueue | null = null;
  #transmit: VirtQueue | null = null;

  constructor(options: ConsoleOptions) {
    this.name = options.name;
    this.#memory = options.memory;
    this.#backend = options.backend;
    this.#backend.onInput((bytes) => this.#input(bytes));
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  /** The terminal at the other end has another size. */
  resize(columns: number, rows: number): void {
    ConsoleConfig.patch(this.#config, 0, { cols: columns, rows });
    this.#host?.configChanged();
  }

  configRead(offset: number, size: number): number {
    return readRegister(this.#config, offset, size);
  }

  configWrite(): void {}

  activate(queues: readonly (VirtQueue | null)[], _driverFeatures: Features): void {
    this.#receive = queues[ConsoleQueue.receive] ?? null;
    this.#transmit = queues[ConsoleQueue.transmit] ?? null;
  }

  handleQueue(index: number): void {
    if (index === ConsoleQueue.transmit) this.#output();
    else if (index === ConsoleQueue.receive) this.#backend.resume();
  }

  reset(): void {
    this.#receive = this.#transmit = null;
  }

  save(): DeviceState {
    return { version: STATE_VERSION, config: [...this.#config] };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(this.name, state, STATE_VERSION);
    this.#config.set(from.exactBytes("config", this.#config.length));
  }

  #output(): void {
    const queue = this.#transmit;
    const again = () => this.#host?.defer(ConsoleQueue.transmit);
    if (queue !== null) drain(this.#memory, queue, this.#backend, again);
  }

  /** Returns how many bytes found room in receive buffers. */
  #input(bytes: Uint8Array): number {
    const queue = this.#receive;
    // Nobody listens: as on a serial line without a reader, input is lost rather than kept for a later driver.
    if (queue === null) return bytes.length;
    return fill(this.#memory, queue, bytes, () => this.#host?.defer(ConsoleQueue.receive));
  }
}
