/**
 * The i8042 keyboard controller, with a keyboard or with nothing plugged in.
 *
 * Without one it is there for what PCs do with it besides keys: reset (command 0xFE), the A20 gate (always on here),
 * and the probes of guests that look for a keyboard. A byte for the keyboard then gets the controller's own "timed out"
 * answer at once, so a guest stops asking instead of waiting. There is no auxiliary (mouse) port at all.
 *
 * The device itself is port 0x60 (offset 0) and, four above it, port 0x64; the ports between belong to others, so a
 * bus that gives each port its own range takes `commandPort` for 0x64.
 */
import type { DeviceState, InterruptLine, RegisterBlock, Stateful } from "../../contract.ts";
import { StateReader } from "../../state.ts";
import {
  Command,
  CommandByte,
  NO_ANSWER,
  OutputPort,
  SCAN_CODE_BREAK,
  SCAN_CODE_EXTENDED,
  SELF_TEST_PASSED,
  SET_1_BREAK,
  Status,
  TEST_CLOCK_LOW,
  TEST_PASSED,
} from "./bits.ts";
import type { Ps2Keyboard } from "./keyboard.ts";
import { set1Of } from "./scan-codes.ts";

export interface I8042Ports {
  /** GSI 1. */
  readonly interrupt: InterruptLine;
  readonly onReset: () => void;
  /** What is plugged in; absent: nothing. */
  readonly keyboard?: Ps2Keyboard;
}

const STATE_VERSION = 2;
/** Offsets of the two ports from port 0x60. */
const DATA = 0;
const COMMAND = 4;
const MEMORY_SIZE = 32;
const COMMAND_BYTE_AT_RESET = CommandByte.System | CommandByte.AuxiliaryDisabled | CommandByte.Translate;
const OUTPUT_PORT_AT_RESET = OutputPort.NotReset | OutputPort.A20;

export class I8042 implements RegisterBlock, Stateful {
  readonly #interrupt: InterruptLine;
  readonly #onReset: () => void;
  readonly #keyboard: Ps2Keyboard | null;

  /** Port 0x64 as a register block of its own. */
  readonly commandPort: RegisterBlock = {
    read: (_offset, size) => this.read(COMMAND, size),
    write: (_offset, size, value) => this.write(COMMAND, size, value),
  };

  /** The controller's memory; byte 0 is the command byte. */
  readonly #memory = new Uint8Array(MEMORY_SIZE);
  #flags = 0;
  #output = 0;
  #outputPort: number = OUTPUT_PORT_AT_RESET;
  /** The command whose data byte is awaited at port 0x60; 0 for none. */
  #awaiting = 0;
  #asserted = false;
  /** The keyboard's last byte said that a key is let go: the next byte is which. */
  #breaking = false;

  constructor(ports: I8042Ports) {
    this.#interrupt = ports.interrupt;
    this.#onReset = ports.onReset;
    this.#keyboard = ports.keyboard ?? null;
    this.#initialise();
  }

  read(offset: number, size: number): number {
    let value = 0xff;
    if (offset === DATA) {
      value = this.#output;
      this.#flags &= ~(Status.OutputFull | Status.AuxiliaryOutput | Status.Timeout);
      // The line falls in between: interrupt controllers count its edges.
      this.#update();
      this.#fetch();
      this.#update();
    } else if (offset === COMMAND) {
      const system = (this.#memory[0] as number) & CommandByte.System ? Status.System : 0;
      value = this.#flags | system | Status.NotLocked;
    }
    return size === 1 ? value : size === 2 ? value | 0xff00 : (value | 0xffff_ff00) >>> 0;
  }

  write(offset: number, _size: number, value: number): void {
    const byte = value & 0xff;
    if (offset === DATA) {
      this.#flags &= ~Status.CommandLast;
      this.#data(byte);
    } else if (offset === COMMAND) {
      this.#flags |= Status.CommandLast;
      this.#awaiting = 0;
      this.#command(byte);
    }
    this.#fetch();
    this.#update();
  }

  /** Bytes that the guest has not read, at the port and in the keyboard. */
  get pending(): number {
    return (this.#flags & Status.OutputFull ? 1 : 0) + (this.#keyboard?.pending ?? 0);
  }

  /** A key of the keyboard went down or up: see Ps2Keyboard. */
  key(keycode: number, down: boolean): void {
    this.#keyboard?.key(keycode, down);
    this.#fetch();
    this.#update();
  }

  reset(): void {
    this.#keyboard?.reset();
    this.#initialise();
    this.#update();
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      memory: Array.from(this.#memory),
      flags: this.#flags,
      output: this.#output,
      outputPort: this.#outputPort,
      awaiting: this.#awaiting,
      breaking: this.#breaking,
      keyboard: this.#keyboard?.save() ?? null,
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the keyboard controller", state, STATE_VERSION);
    const memory = from.bytes("memory", MEMORY_SIZE);
    this.#flags = from.u8("flags");
    this.#output = from.u8("output");
    this.#outputPort = from.u8("outputPort");
    this.#awaiting = from.u8("awaiting");
    this.#breaking = from.flag("breaking");
    this.#keyboard?.restore(state.keyboard as DeviceState);
    this.#memory.fill(0);
    this.#memory.set(memory);
    this.#update();
  }

  #initialise(): void {
    this.#memory.fill(0);
    this.#memory[0] = COMMAND_BYTE_AT_RESET;
    this.#flags = 0;
    this.#output = 0;
    this.#outputPort = OUTPUT_PORT_AT_RESET;
    this.#awaiting = 0;
    this.#breaking = false;
  }

  /** Takes the keyboard's next byte, if there is room and the keyboard may send. */
  #fetch(): void {
    const commandByte = this.#memory[0] as number;
    while ((this.#flags & Status.OutputFull) === 0 && (commandByte & CommandByte.KeyboardDisabled) === 0) {
      const byte = this.#keyboard?.take() ?? -1;
      if (byte < 0) return;
      if ((commandByte & CommandByte.Translate) === 0) this.#answer(byte);
      else if (byte === SCAN_CODE_BREAK) this.#breaking = true;
      else {
        const breaking = this.#breaking && byte !== SCAN_CODE_EXTENDED;
        this.#answer(set1Of(byte) | (breaking ? SET_1_BREAK : 0));
        if (breaking) this.#breaking = false;
      }
    }
  }

  #command(byte: number): void {
    if (byte >= Command.ReadMemory && byte <= Command.ReadMemoryLast) {
      this.#answer(this.#memory[byte - Command.ReadMemory] as number);
    } else if (byte >= Command.WriteMemory && byte <= Command.WriteMemoryLast) {
      this.#awaiting = byte;
    } else if (byte >= Command.PulseOutput) {
      if (!(byte & OutputPort.NotReset)) this.#onReset();
    } else {
      this.#simpleCommand(byte);
    }
  }

  #simpleCommand(byte: number): void {
    const memory = this.#memory;
    switch (byte) {
      case Command.SelfTest:
        memory[0] = (memory[0] as number) | CommandByte.System;
        this.#answer(SELF_TEST_PASSED);
        return;
      case Command.TestKeyboard:
        this.#answer(TEST_PASSED);
        return;
      case Command.TestAuxiliary:
        this.#answer(TEST_CLOCK_LOW);
        return;
      case Command.DisableKeyboard:
        memory[0] = (memory[0] as number) | CommandByte.KeyboardDisabled;
        return;
      case Command.EnableKeyboard:
        memory[0] = (memory[0] as number) & ~CommandByte.KeyboardDisabled;
        return;
      case Command.ReadInputPort:
        this.#answer(0);
        return;
      case Command.ReadOutputPort:
        this.#answer(this.#outputPort);
        return;
      case Command.WriteOutputPort:
      case Command.WriteKeyboardOutput:
      case Command.WriteAuxiliaryOutput:
      case Command.WriteAuxiliary:
        this.#awaiting = byte;
        return;
      default:
        // Enabling and disabling a mouse port that is not there, and what no controller knows.
        return;
    }
  }

  #data(byte: number): void {
    const command = this.#awaiting;
    this.#awaiting = 0;
    if (command >= Command.WriteMemory && command <= Command.WriteMemoryLast) {
      const at = command - Command.WriteMemory;
      // Without an auxiliary port its clock stays off, whatever is written; drivers recognise that.
      this.#memory[at] = at === 0 ? byte | CommandByte.AuxiliaryDisabled : byte;
      return;
    }
    switch (command) {
      case Command.WriteOutputPort:
        this.#outputPort = byte | OutputPort.A20 | OutputPort.NotReset;
        if (!(byte & OutputPort.NotReset)) this.#onReset();
        return;
      case Command.WriteKeyboardOutput:
        this.#answer(byte);
        return;
      case Command.WriteAuxiliaryOutput:
      case Command.WriteAuxiliary:
        return;
      default:
        if (this.#keyboard === null) {
          this.#answer(NO_ANSWER, Status.Timeout);
        } else {
          // A byte for the keyboard also lets it send again.
          this.#memory[0] = (this.#memory[0] as number) & ~CommandByte.KeyboardDisabled;
          this.#keyboard.receive(byte);
        }
    }
  }

  #answer(byte: number, flags = 0): void {
    this.#output = byte;
    this.#flags = (this.#flags & ~(Status.AuxiliaryOutput | Status.Timeout)) | Status.OutputFull | flags;
  }

  #update(): void {
    const enabled = (this.#memory[0] as number) & CommandByte.KeyboardInterrupt;
    const asserted = enabled !== 0 && (this.#flags & Status.OutputFull) !== 0;
    if (asserted !== this.#asserted) {
      this.#asserted = asserted;
      this.#interrupt.set(asserted);
    }
  }
}
