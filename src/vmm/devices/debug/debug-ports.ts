/** Ports for test programs and firmware builds: one to say something, one to end the machine with a number. */
import type { RegisterBlock } from "../../contract.ts";

/** What the debug console reads as: how programs find out that it is there (Bochs, QEMU's isa-debugcon). */
export const DEBUG_CONSOLE_PRESENT = 0xe9;

/** Each byte written is a character for people. Wider writes are as many characters, lowest byte first. */
export class DebugConsole implements RegisterBlock {
  readonly #put: (byte: number) => void;

  constructor(put: (byte: number) => void) {
    this.#put = put;
  }

  read(_offset: number, _size: number): number {
    return DEBUG_CONSOLE_PRESENT;
  }

  write(_offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.#put((value >>> (8 * i)) & 0xff);
  }
}

/** A write of any width ends the machine; the value says how. Reads as zero. */
export class DebugExit implements RegisterBlock {
  readonly #onExit: (status: number) => void;

  /** `onExit` gets the exit status that the value stands for. */
  constructor(onExit: (status: number) => void) {
    this.#onExit = onExit;
  }

  read(_offset: number, _size: number): number {
    return 0;
  }

  write(_offset: number, _size: number, value: number): void {
    this.#onExit(debugExitStatus(value));
  }
}

/** A process's status has eight bits, so only the value's lower seven tell; it is odd, hence never that of success. */
export function debugExitStatus(value: number): number {
  return ((value << 1) | 1) & 0xff;
}
