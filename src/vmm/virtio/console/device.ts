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
import { readRegister, scatter, walk } from "../segments.ts";
import { ConsoleConfig, ConsoleFeature, ConsoleQueue } from "./bits.ts";

const QUEUE_SIZE = 64;
/** Chains written out in one call. */
const CHAINS_PER_CALL = 2 * QUEUE_SIZE;
/** Bytes of one chain that are written out: drivers use at most a page. */
const CHAIN_BYTES_MAX = 64 * 1024;
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
    if (queue === null) return;
    let budget = CHAINS_PER_CALL;
    do {
      queue.suppressNotifications();
      for (let head = queue.pop(); head >= 0; head = queue.pop()) {
        // The backend may keep what it is given; guest memory changes under it.
        walk(this.#memory, queue.readable, 0, CHAIN_BYTES_MAX, (bytes) => this.#backend.write(bytes.slice()));
        queue.push(head, 0);
        if (--budget === 0) {
          queue.flush();
          this.#host?.defer(ConsoleQueue.transmit);
          return;
        }
      }
      queue.flush();
    } while (queue.resumeNotifications());
  }

  /** Returns how many bytes found room in receive buffers. */
  #input(bytes: Uint8Array): number {
    const queue = this.#receive;
    // Nobody listens: as on a serial line without a reader, input is lost rather than kept for a later driver.
    if (queue === null || !queue.running) return bytes.length;
    let taken = 0;
    for (let budget = CHAINS_PER_CALL; taken < bytes.length; budget--) {
      if (budget === 0) {
        this.#host?.defer(ConsoleQueue.receive);
        break;
      }
      const head = queue.pop();
      if (head < 0) {
        if (queue.resumeNotifications()) continue;
        break;
      }
      const written = scatter(this.#memory, queue.writable, 0, bytes.subarray(taken));
      queue.push(head, written);
      taken += written;
    }
    queue.flush();
    return queue.running ? taken : bytes.length;
  }
}
