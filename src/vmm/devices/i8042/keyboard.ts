/**
 * A PS/2 keyboard, as it is seen from the controller's end of the cable: bytes in are commands, bytes out are answers
 * and key codes of scan code set 2 (IBM PS/2 Hardware Technical Reference, keyboards). Firmware waits seconds for each answer
 * of a keyboard that is not there, so VMs with firmware have one.
 */
import type { DeviceState, Stateful } from "../../contract.ts";
import { StateReader } from "../../state.ts";
import { KeyboardAnswer, KeyboardCommand, SCAN_CODE_BREAK, SCAN_CODE_EXTENDED } from "./bits.ts";
import { extendedCode, set2Of } from "./scan-codes.ts";

const STATE_VERSION = 1;
/** What a keyboard's own buffer holds. Keys beyond are lost, as a person's who types ahead too far. */
const QUEUE_MAX = 16;

export class Ps2Keyboard implements Stateful {
  #queue: number[] = [];
  /** Keys are reported. */
  #scanning = true;
  /** The command whose parameter is awaited; 0 for none. */
  #awaiting = 0;
  #last = 0;

  /** Bytes for the controller. */
  get pending(): number {
    return this.#queue.length;
  }

  /** The next byte to the controller; -1 when there is none. */
  take(): number {
    const byte = this.#queue.shift();
    if (byte === undefined) return -1;
    this.#last = byte;
    return byte;
  }

  /** A byte from the controller. */
  receive(byte: number): void {
    const command = this.#awaiting;
    this.#awaiting = 0;
    // A command in place of the parameter takes its place.
    if (command !== 0 && byte < KeyboardCommand.setIndicators) {
      this.#send(KeyboardAnswer.acknowledge);
      if (command === KeyboardCommand.scanCodeSet && byte === 0) this.#send(2);
      return;
    }
    this.#queue = [];
    this.#command(byte);
  }

  /** A key went down or up; `keycode` is KEY_* of Linux's input-event-codes.h. Keys that a PC keyboard lacks are ignored. */
  key(keycode: number, down: boolean): void {
    if (!this.#scanning) return;
    const extended = extendedCode(keycode);
    const code = set2Of(extended || keycode);
    if (code === 0) return;
    const bytes = extended === 0 ? [] : [SCAN_CODE_EXTENDED];
    if (!down) bytes.push(SCAN_CODE_BREAK);
    bytes.push(code);
    if (this.#queue.length + bytes.length <= QUEUE_MAX) this.#queue.push(...bytes);
  }

  reset(): void {
    this.#queue = [];
    this.#scanning = true;
    this.#awaiting = 0;
    this.#last = 0;
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      queue: this.#queue.slice(),
      scanning: this.#scanning,
      awaiting: this.#awaiting,
      last: this.#last,
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the keyboard", state, STATE_VERSION);
    const queue = from.bytes("queue", QUEUE_MAX);
    this.#scanning = from.flag("scanning");
    this.#awaiting = from.u8("awaiting");
    this.#last = from.u8("last");
    this.#queue = [...queue];
  }

  #command(byte: number): void {
    switch (byte) {
      case KeyboardCommand.reset:
        this.#scanning = true;
        this.#send(KeyboardAnswer.acknowledge, KeyboardAnswer.selfTestPassed);
        return;
      case KeyboardCommand.setDefaults:
      case KeyboardCommand.enable:
        this.#scanning = true;
        this.#send(KeyboardAnswer.acknowledge);
        return;
      case KeyboardCommand.disable:
        this.#scanning = false;
        this.#send(KeyboardAnswer.acknowledge);
        return;
      case KeyboardCommand.identify:
        this.#send(KeyboardAnswer.acknowledge, ...KeyboardAnswer.identity);
        return;
      case KeyboardCommand.setIndicators:
      case KeyboardCommand.scanCodeSet:
      case KeyboardCommand.setRate:
        this.#awaiting = byte;
        this.#send(KeyboardAnswer.acknowledge);
        return;
      case KeyboardCommand.echo:
        this.#send(KeyboardCommand.echo);
        return;
      case KeyboardCommand.resend:
        this.#send(this.#last);
        return;
      default:
        this.#send(KeyboardAnswer.resend);
    }
  }

  #send(...bytes: number[]): void {
    if (this.#queue.length + bytes.length <= QUEUE_MAX) this.#queue.push(...bytes);
  }
}
