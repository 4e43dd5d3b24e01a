/**
 * Where input goes. Keys go to the virtio keyboard once a driver runs it, and to the PS/2 keyboard before: firmware,
 * boot loaders and guests without the driver. A key is let go where it was pressed, so neither keyboard keeps one down
 * when the driver comes or goes in between. The pointer has the tablet alone.
 */
import type { InputSink } from "./input.ts";

/** A keyboard of the machine. */
export interface KeyboardPort {
  /** Keys typed that the guest has not read yet. */
  readonly pending: number;
  key(keycode: number, down: boolean): void;
}

/** A virtio keyboard, which the guest may not drive. */
export interface DrivenKeyboard extends KeyboardPort {
  readonly running: boolean;
}

export interface InputPorts {
  readonly keyboard: DrivenKeyboard;
  readonly tablet: Pick<InputSink, "pointer">;
  readonly ps2: KeyboardPort;
}

export class InputRouter implements InputSink {
  readonly #ports: InputPorts;
  /** The keys that are down, with where they were pressed. */
  readonly #down = new Map<number, KeyboardPort>();

  constructor(ports: InputPorts) {
    this.#ports = ports;
  }

  /** The guest has read what was typed at the keyboard that it uses. */
  get settled(): boolean {
    return this.#inUse.pending === 0;
  }

  get #inUse(): KeyboardPort {
    const { keyboard, ps2 } = this.#ports;
    return keyboard.running ? keyboard : ps2;
  }

  key(keycode: number, down: boolean): void {
    const { keyboard } = this.#ports;
    let to = this.#down.get(keycode);
    if (down) {
      // Held while the driver went: its repeats go on at the other.
      if (to === undefined || (to === keyboard && !keyboard.running)) to = this.#inUse;
      this.#down.set(keycode, to);
    } else this.#down.delete(keycode);
    to?.key(keycode, down);
  }

  pointer(x: number, y: number, buttons: number, wheel: number): void {
    this.#ports.tablet.pointer(x, y, buttons, wheel);
  }
}
