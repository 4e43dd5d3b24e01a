/**
 * The 16550A UART at COM1.
 *
 * Guest to person: the guest writes one byte per exit into the transmitter holding register. A byte counts as sent at
 * once, but goes into a batch that is handed to the backend when it is full or FLUSH_DELAY_MS after its first byte, so
 * that a burst costs one write. Whoever ends the machine calls `flush`.
 *
 * Person to guest: the backend offers bytes; as many as fit go into the receiver FIFO, the rest is asked for again
 * (`resume`) when the guest has emptied it, so nothing is ever overrun.
 *
 * The line to the interrupt controller passes a gate that MCR.OUT2 opens, as on a PC's board.
 */
import type {
  CharBackend,
  Clock,
  DeviceState,
  InterruptLine,
  RegisterBlock,
  Stateful,
} from "../../contract.ts";
import { StateReader } from "../../state.ts";
import { Fcr, FIFO_SIZE, Ier, Iir, Lcr, Lsr, Mcr, Msr, Register, TRIGGER_LEVEL } from "./bits.ts";

export interface UartPorts {
  readonly interrupt: InterruptLine;
  readonly backend: CharBackend;
  readonly clock: Clock;
}

const STATE_VERSION = 1;
const BATCH_SIZE = 4096;
/** Short enough to go unnoticed by who types, long enough to catch the lines a booting kernel prints in one go. */
const FLUSH_DELAY_MS = 2;
/**
 * How many "transmitter empty" interrupts the guest may answer in one batch before the next is held back until the
 * batch is flushed. A transmitter without any delay would keep Linux in its interrupt handler until it complains
 * ("too much work for irq4", after 256 rounds).
 */
const TRANSMIT_ROUNDS_MAX = 64;
/** 9600 baud, what PC firmware leaves behind. */
const DIVISOR_AT_RESET = 12;
/** A terminal that is always there and ready. */
const LINES_CONNECTED = Msr.Carrier | Msr.Dsr | Msr.Cts;
/** A byte FIFO slot is free as soon as it was written. */
const TRANSMITTER_IDLE = Lsr.TransmitterHoldingEmpty | Lsr.TransmitterEmpty;

export class Uart16550 implements RegisterBlock, Stateful {
  readonly #interrupt: InterruptLine;
  readonly #backend: CharBackend;
  readonly #clock: Clock;

  readonly #batch = new Uint8Array(BATCH_SIZE);
  #batched = 0;
  #cancelFlush: (() => void) | null = null;
  #roundsInBatch = 0;
  /** A "transmitter empty" interrupt waits for the flush. */
  #transmitHeldBack = false;

  readonly #received = new Uint8Array(FIFO_SIZE);
  #receivedHead = 0;
  #receivedCount = 0;
  /** The backend has bytes that did not fit. */
  #inputWaits = false;

  #divisor = DIVISOR_AT_RESET;
  #interruptEnable = 0;
  #fifoControl = 0;
  #lineControl = 0;
  #modemControl = 0;
  #modemStatus: number = LINES_CONNECTED;
  #scratch = 0;
  #overrun = false;
  #transmitterEmptyPending = false;
  #asserted = false;

  constructor(ports: UartPorts) {
    this.#interrupt = ports.interrupt;
    this.#backend = ports.backend;
    this.#clock = ports.clock;
    ports.backend.onInput((bytes) => this.#receive(bytes));
  }

  read(offset: number, size: number): number {
    const value = this.#readRegister(offset);
    // Byte-wide registers on a byte-wide bus: the upper lanes float.
    return size === 1 ? value : size === 2 ? value | 0xff00 : (value | 0xffff_ff00) >>> 0;
  }

  write(offset: number, _size: number, value: number): void {
    const byte = value & 0xff;
    switch (offset) {
      case Register.Data:
        if (this.#lineControl & Lcr.DivisorLatch) this.#divisor = (this.#divisor & 0xff00) | byte;
        else this.#transmit(byte);
        return;
      case Register.InterruptEnable:
        if (this.#lineControl & Lcr.DivisorLatch) this.#divisor = (this.#divisor & 0xff) | (byte << 8);
        else this.#enableInterrupts(byte & Ier.Mask);
        return;
      case Register.InterruptId:
        this.#controlFifo(byte);
        return;
      case Register.LineControl:
        this.#lineControl = byte;
        return;
      case Register.ModemControl:
        this.#modemControl = byte & Mcr.Mask;
        this.#followModemLines();
        this.#updateInterrupt();
        this.#askForInput();
        return;
      case Register.Scratch:
        this.#scratch = byte;
        return;
      default:
        // Line status and modem status: written by factory tests only.
        return;
    }
  }

  /** Hands what the guest has written so far to the backend. Call it before the machine ends. */
  flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = null;
    this.#roundsInBatch = 0;
    if (this.#batched > 0) {
      const out = this.#batch.slice(0, this.#batched);
      this.#batched = 0;
      this.#backend.write(out);
    }
    if (this.#transmitHeldBack) {
      this.#transmitHeldBack = false;
      this.#transmitterEmptyPending = true;
      this.#updateInterrupt();
    }
  }

  reset(): void {
    this.flush();
    this.#receivedCount = 0;
    this.#divisor = DIVISOR_AT_RESET;
    this.#interruptEnable = 0;
    this.#fifoControl = 0;
    this.#lineControl = 0;
    this.#modemControl = 0;
    this.#modemStatus = LINES_CONNECTED;
    this.#scratch = 0;
    this.#overrun = false;
    this.#transmitterEmptyPending = false;
    this.#updateInterrupt();
    this.#askForInput();
  }

  /** What is batched has left the chip as far as the guest knows; it is flushed here, not saved. */
  save(): DeviceState {
    this.flush();
    const received: number[] = [];
    for (let i = 0; i < this.#receivedCount; i++) {
      received.push(this.#received[(this.#receivedHead + i) % FIFO_SIZE] as number);
    }
    return {
      version: STATE_VERSION,
      received,
      divisor: this.#divisor,
      interruptEnable: this.#interruptEnable,
      fifoControl: this.#fifoControl,
      lineControl: this.#lineControl,
      modemControl: this.#modemControl,
      modemStatus: this.#modemStatus,
      scratch: this.#scratch,
      overrun: this.#overrun,
      transmitterEmptyPending: this.#transmitterEmptyPending,
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the serial port", state, STATE_VERSION);
    const received = from.bytes("received", FIFO_SIZE);
    this.flush();
    this.#divisor = from.u16("divisor");
    this.#interruptEnable = from.integer("interruptEnable", 0, Ier.Mask);
    this.#fifoControl = from.u8("fifoControl");
    this.#lineControl = from.u8("lineControl");
    this.#modemControl = from.integer("modemControl", 0, Mcr.Mask);
    this.#modemStatus = from.u8("modemStatus");
    this.#scratch = from.u8("scratch");
    this.#overrun = from.flag("overrun");
    this.#transmitterEmptyPending = from.flag("transmitterEmptyPending");
    this.#received.set(received);
    this.#receivedHead = 0;
    this.#receivedCount = received.length;
    this.#updateInterrupt();
    // Input that waited for a reader may now find an empty FIFO; not from here, so that restoring is exact.
    this.#clock.after(0, () => this.#askForInput());
  }

  #readRegister(offset: number): number {
    switch (offset) {
      case Register.Data:
        if (this.#lineControl & Lcr.DivisorLatch) return this.#divisor & 0xff;
        return this.#takeReceived();
      case Register.InterruptEnable:
        return this.#lineControl & Lcr.DivisorLatch ? this.#divisor >>> 8 : this.#interruptEnable;
      case Register.InterruptId: {
        const source = this.#pendingSource();
        if (source === Iir.TransmitterEmpty) {
          // Reading the register while it names this source is what clears it.
          this.#transmitterEmptyPending = false;
          this.#roundsInBatch++;
          this.#updateInterrupt();
        }
        return source | (this.#fifoControl & Fcr.Enable ? Iir.FifosEnabled : 0);
      }
      case Register.LineControl:
        return this.#lineControl;
      case Register.ModemControl:
        return this.#modemControl;
      case Register.LineStatus: {
        const status =
          TRANSMITTER_IDLE |
          (this.#receivedCount > 0 ? Lsr.DataReady : 0) |
          (this.#overrun ? Lsr.Overrun : 0);
        if (this.#overrun) {
          this.#overrun = false;
          this.#updateInterrupt();
        }
        return status;
      }
      case Register.ModemStatus: {
        const status = this.#modemStatus;
        this.#modemStatus &= 0xf0;
        if (status !== this.#modemStatus) this.#updateInterrupt();
        return status;
      }
      case Register.Scratch:
        return this.#scratch;
      default:
        return 0xff;
    }
  }

  #transmit(byte: number): void {
    if (this.#modemControl & Mcr.Loop) {
      this.#loopBack(byte);
    } else {
      this.#batch[this.#batched++] = byte;
      if (this.#batched === BATCH_SIZE) this.flush();
      else if (this.#cancelFlush === null) {
        this.#roundsInBatch = 0;
        this.#cancelFlush = this.#clock.after(FLUSH_DELAY_MS, () => this.flush());
      }
    }
    if (this.#roundsInBatch >= TRANSMIT_ROUNDS_MAX && this.#cancelFlush !== null) {
      this.#transmitterEmptyPending = false;
      this.#transmitHeldBack = true;
    } else {
      this.#transmitterEmptyPending = true;
    }
    this.#updateInterrupt();
  }

  #loopBack(byte: number): void {
    if (this.#receivedCount >= this.#receiverRoom()) this.#overrun = true;
    else this.#pushReceived(byte);
  }

  #enableInterrupts(enable: number): void {
    // Enabling the transmitter's interrupt while the register is empty raises it: drivers start output this way.
    if (enable & ~this.#interruptEnable & Ier.TransmitterEmpty && !this.#transmitHeldBack) {
      this.#transmitterEmptyPending = true;
    }
    this.#interruptEnable = enable;
    this.#updateInterrupt();
  }

  #controlFifo(byte: number): void {
    const switched = (byte ^ this.#fifoControl) & Fcr.Enable;
    const cleared = switched !== 0 || (byte & Fcr.ClearReceiver) !== 0;
    if (cleared) {
      this.#receivedCount = 0;
      this.#overrun = false;
    }
    if (switched !== 0 || byte & Fcr.ClearTransmitter) this.#transmitterEmptyPending = true;
    // The other bits may only be written together with the enable bit.
    this.#fifoControl = byte & Fcr.Enable ? byte & ~(Fcr.ClearReceiver | Fcr.ClearTransmitter) : 0;
    this.#updateInterrupt();
    if (cleared) this.#askForInput();
  }

  /** Sets the modem inputs: the terminal's, or in loopback the chip's own outputs; notes which changed. */
  #followModemLines(): void {
    const control = this.#modemControl;
    let lines: number = LINES_CONNECTED;
    if (control & Mcr.Loop) {
      lines =
        (control & Mcr.Rts ? Msr.Cts : 0) |
        (control & Mcr.Dtr ? Msr.Dsr : 0) |
        (control & Mcr.Out1 ? Msr.Ring : 0) |
        (control & Mcr.Out2 ? Msr.Carrier : 0);
    }
    const before = this.#modemStatus;
    const changed = lines ^ before;
    let deltas = before & 0x0f;
    if (changed & Msr.Cts) deltas |= Msr.DeltaCts;
    if (changed & Msr.Dsr) deltas |= Msr.DeltaDsr;
    if (changed & Msr.Carrier) deltas |= Msr.DeltaCarrier;
    if (changed & before & Msr.Ring) deltas |= Msr.TrailingRing;
    this.#modemStatus = lines | deltas;
  }

  #receive(bytes: Uint8Array): number {
    // In loopback the input pin is cut off from the receiver.
    const room = this.#modemControl & Mcr.Loop ? 0 : this.#receiverRoom() - this.#receivedCount;
    const taken = Math.max(0, Math.min(bytes.length, room));
    for (let i = 0; i < taken; i++) this.#pushReceived(bytes[i] as number);
    this.#inputWaits = taken < bytes.length;
    if (taken > 0) this.#updateInterrupt();
    return taken;
  }

  #receiverRoom(): number {
    return this.#fifoControl & Fcr.Enable ? FIFO_SIZE : 1;
  }

  #pushReceived(byte: number): void {
    this.#received[(this.#receivedHead + this.#receivedCount) % FIFO_SIZE] = byte;
    this.#receivedCount++;
  }

  #takeReceived(): number {
    if (this.#receivedCount === 0) return 0;
    const byte = this.#received[this.#receivedHead] as number;
    this.#receivedHead = (this.#receivedHead + 1) % FIFO_SIZE;
    this.#receivedCount--;
    this.#askForInput();
    this.#updateInterrupt();
    return byte;
  }

  #askForInput(): void {
    if (this.#inputWaits && this.#receivedCount === 0 && !(this.#modemControl & Mcr.Loop)) {
      this.#inputWaits = false;
      this.#backend.resume();
    }
  }

  #pendingSource(): number {
    const enabled = this.#interruptEnable;
    if (enabled & Ier.LineStatus && this.#overrun) return Iir.LineStatus;
    if (enabled & Ier.ReceivedData && this.#receivedCount > 0) {
      if (!(this.#fifoControl & Fcr.Enable)) return Iir.ReceivedData;
      const trigger = TRIGGER_LEVEL[this.#fifoControl >>> Fcr.TriggerShift] as number;
      // Below the trigger level the chip waits four character times; bytes that a person types arrive slower than that.
      return this.#receivedCount >= trigger ? Iir.ReceivedData : Iir.CharacterTimeout;
    }
    if (enabled & Ier.TransmitterEmpty && this.#transmitterEmptyPending) return Iir.TransmitterEmpty;
    if (enabled & Ier.ModemStatus && this.#modemStatus & 0x0f) return Iir.ModemStatus;
    return Iir.None;
  }

  #updateInterrupt(): void {
    const control = this.#modemControl;
    const gateOpen = (control & Mcr.Out2) !== 0 && (control & Mcr.Loop) === 0;
    const asserted = gateOpen && this.#pendingSource() !== Iir.None;
    if (asserted !== this.#asserted) {
      this.#asserted = asserted;
      this.#interrupt.set(asserted);
    }
  }
}
