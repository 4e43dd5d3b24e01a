/**
 * Ports of the PC's board that software touches without needing much of an answer. Each is one byte wide.
 */
import type { DeviceState, RegisterBlock, Stateful } from "../../contract.ts";
import { StateReader } from "../../state.ts";

const STATE_VERSION = 1;

export const SystemControlA = { FastReset: 0x01, A20Enabled: 0x02 } as const;

export const SystemControlB = {
  Timer2Gate: 0x01,
  SpeakerData: 0x02,
  /** Bits the guest may write. */
  Writable: 0x0f,
  RefreshToggle: 0x10,
  Timer2Output: 0x20,
} as const;

/** Port 0x80: firmware's progress codes, and Linux's way to wait a microsecond. Swallows everything. */
export class PostCodePort implements RegisterBlock {
  read(_offset: number, size: number): number {
    return size === 1 ? 0xff : size === 2 ? 0xffff : 0xffff_ffff;
  }

  write(_offset: number, _size: number, _value: number): void {}
}

/** Port 0x92: fast A20 (address line 20 is always on here) and fast reset. */
export class SystemControlPortA implements RegisterBlock, Stateful {
  readonly #onReset: () => void;
  #value: number = SystemControlA.A20Enabled;

  constructor(ports: { readonly onReset: () => void }) {
    this.#onReset = ports.onReset;
  }

  read(_offset: number, _size: number): number {
    return this.#value;
  }

  write(_offset: number, _size: number, value: number): void {
    this.#value = (value & 0xfe) | SystemControlA.A20Enabled;
    if (value & SystemControlA.FastReset) this.#onReset();
  }

  reset(): void {
    this.#value = SystemControlA.A20Enabled;
  }

  save(): DeviceState {
    return { version: STATE_VERSION, value: this.#value };
  }

  restore(state: DeviceState): void {
    this.#value = new StateReader("system control port A", state, STATE_VERSION).u8("value");
  }
}

/**
 * Port 0x61: gates of timer 2 and the speaker. KVM's interval timer owns this port where it is created with the
 * speaker; otherwise this answers: the refresh bit and the timer's output change with every read, so loops that wait
 * for either end.
 */
export class SystemControlPortB implements RegisterBlock, Stateful {
  #gates = 0;
  #toggles = 0;

  read(_offset: number, _size: number): number {
    this.#toggles ^= SystemControlB.RefreshToggle | SystemControlB.Timer2Output;
    return this.#gates | this.#toggles;
  }

  write(_offset: number, _size: number, value: number): void {
    this.#gates = value & SystemControlB.Writable;
  }

  reset(): void {
    this.#gates = 0;
    this.#toggles = 0;
  }

  save(): DeviceState {
    return { version: STATE_VERSION, gates: this.#gates, toggles: this.#toggles };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("system control port B", state, STATE_VERSION);
    this.#gates = from.u8("gates");
    this.#toggles = from.u8("toggles");
  }
}
