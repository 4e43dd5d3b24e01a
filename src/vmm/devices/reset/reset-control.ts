/**
 * The reset control register at port 0xCF9, as in Intel's chipsets since the PIIX; the FADT names it as ACPI's reset
 * register. Setting RST_CPU resets the machine, hard or soft alike.
 */
import type { DeviceState, RegisterBlock, Stateful } from "../../contract.ts";
import { StateReader } from "../../state.ts";

export const ResetControlBit = { SystemReset: 0x02, ResetCpu: 0x04, FullReset: 0x08 } as const;

/** What ACPI's reset register is to be written: system reset, now. */
export const RESET_VALUE: number = ResetControlBit.SystemReset | ResetControlBit.ResetCpu;

const STATE_VERSION = 1;

export class ResetControl implements RegisterBlock, Stateful {
  readonly #onReset: () => void;
  #value = 0;

  constructor(ports: { readonly onReset: () => void }) {
    this.#onReset = ports.onReset;
  }

  read(_offset: number, _size: number): number {
    return this.#value;
  }

  write(_offset: number, _size: number, value: number): void {
    this.#value = value & (ResetControlBit.SystemReset | ResetControlBit.FullReset);
    if (value & ResetControlBit.ResetCpu) this.#onReset();
  }

  reset(): void {
    this.#value = 0;
  }

  save(): DeviceState {
    return { version: STATE_VERSION, value: this.#value };
  }

  restore(state: DeviceState): void {
    this.#value = new StateReader("the reset control register", state, STATE_VERSION).u8("value");
  }
}
