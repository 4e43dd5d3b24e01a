/**
 * ACPI's fixed power management hardware: PM1a event block, PM1a control block and the PM timer.
 *
 * The person's side is `pressPowerButton`, which raises the system control interrupt; the guest's answer is a write of
 * SLP_TYP for S5 with SLP_EN, which calls `onPowerOff`. There is no system management mode to hand over from (the
 * FADT's SMI_CMD is 0), so SCI_EN always reads as set.
 */

import type { Clock, DeviceState, InterruptLine, RegisterBlock, Stateful } from "../../contract.ts";
import { AcpiPmOffset } from "../../platform.ts";
import { StateReader } from "../../state.ts";
import { PM_TIMER_TICKS_PER_MS, Pm1, Pm1Control, SLEEP_TYPE_S5 } from "./bits.ts";

export interface AcpiPmPorts {
  /** GSI 9. */
  readonly interrupt: InterruptLine;
  readonly clock: Clock;
  /** The guest has put the machine into soft-off. */
  readonly onPowerOff: () => void;
}

const STATE_VERSION = 1;
const ENABLE_MASK =
  Pm1.Timer | Pm1.GlobalLock | Pm1.PowerButton | Pm1.SleepButton | Pm1.Rtc | Pm1.PciExpressWake;
/** Bits that a guest clears by writing one. */
const STATUS_MASK = ENABLE_MASK | Pm1.BusMaster | Pm1.Wake;
/** Those of them that raise the interrupt when enabled. */
const INTERRUPT_MASK = Pm1.Timer | Pm1.GlobalLock | Pm1.PowerButton | Pm1.SleepButton | Pm1.Rtc;
const CONTROL_MASK = Pm1Control.BusMasterReload | Pm1Control.SleepTypeMask;
const TIMER_RANGE = 2 ** 32;
/** TMR_STS is set whenever the timer's top bit changes. */
const TIMER_HALF = 2 ** 31;

export class AcpiPm implements RegisterBlock, Stateful {
  readonly #interrupt: InterruptLine;
  readonly #clock: Clock;
  readonly #onPowerOff: () => void;

  #status = 0;
  #enable = 0;
  #control = 0;
  /** Counter value, not yet wrapped, at time zero of the clock. */
  #timerBase = 0;
  /** Half-periods of the timer that have been turned into TMR_STS. */
  #halvesSeen = 0;
  #cancelTimer: (() => void) | null = null;
  #asserted = false;

  constructor(ports: AcpiPmPorts) {
    this.#interrupt = ports.interrupt;
    this.#clock = ports.clock;
    this.#onPowerOff = ports.onPowerOff;
    this.#startTimerAt(0);
  }

  read(offset: number, size: number): number {
    if (offset === AcpiPmOffset.pmTimer && size === 4) return this.#timerTicks() % TIMER_RANGE;
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.#readByte(offset + i);
    return value;
  }

  write(offset: number, size: number, value: number): void {
    // Register by register: each write to SLP_EN or to a status register acts once, whatever the access's width.
    for (let at = offset; at < offset + size; ) {
      const register = at & ~1;
      const bytes = Math.min(register + 2, offset + size) - at;
      const shift = (at - register) * 8;
      const mask = (bytes === 2 ? 0xffff : 0xff) << shift;
      const part = (Math.floor(value / 2 ** ((at - offset) * 8)) << shift) & mask;
      this.#writeRegister(register, part, mask);
      at += bytes;
    }
  }

  /** A short press: the guest's operating system is asked to shut down. Nothing happens where ACPI is not in use. */
  pressPowerButton(): void {
    this.#status |= Pm1.PowerButton;
    this.#update();
  }

  reset(): void {
    this.#status = 0;
    this.#enable = 0;
    this.#control = 0;
    this.#startTimerAt(0);
    this.#update();
  }

  save(): DeviceState {
    this.#noteTimer();
    return {
      version: STATE_VERSION,
      status: this.#status,
      enable: this.#enable,
      control: this.#control,
      timer: this.#timerTicks() % TIMER_RANGE,
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the ACPI power management device", state, STATE_VERSION);
    const status = from.u16("status");
    const enable = from.u16("enable");
    const control = from.u16("control");
    this.#startTimerAt(from.integer("timer", 0, TIMER_RANGE - 1));
    this.#status = status & STATUS_MASK;
    this.#enable = enable & ENABLE_MASK;
    this.#control = control & CONTROL_MASK;
    this.#update();
  }

  #readByte(offset: number): number {
    switch (offset & ~1) {
      case AcpiPmOffset.pm1Event:
        this.#noteTimer();
        this.#update();
        return (this.#status >>> ((offset & 1) * 8)) & 0xff;
      case AcpiPmOffset.pm1Event + 2:
        return (this.#enable >>> ((offset & 1) * 8)) & 0xff;
      case AcpiPmOffset.pm1Control:
        return ((this.#control | Pm1Control.SciEnable) >>> ((offset & 1) * 8)) & 0xff;
      case AcpiPmOffset.pmTimer:
      case AcpiPmOffset.pmTimer + 2:
        return (
          Math.floor((this.#timerTicks() % TIMER_RANGE) / 2 ** ((offset - AcpiPmOffset.pmTimer) * 8)) & 0xff
        );
      default:
        return 0;
    }
  }

  /** Writes the bits of `mask` of the 16-bit register at `register`. */
  #writeRegister(register: number, value: number, mask: number): void {
    switch (register) {
      case AcpiPmOffset.pm1Event:
        this.#noteTimer();
        this.#status &= ~value;
        this.#update();
        return;
      case AcpiPmOffset.pm1Event + 2:
        this.#noteTimer();
        this.#enable = ((this.#enable & ~mask) | value) & ENABLE_MASK;
        this.#update();
        return;
      case AcpiPmOffset.pm1Control: {
        this.#control = ((this.#control & ~mask) | value) & CONTROL_MASK;
        const sleepType = (this.#control & Pm1Control.SleepTypeMask) >>> Pm1Control.SleepTypeShift;
        if (value & Pm1Control.SleepEnable && sleepType === SLEEP_TYPE_S5) this.#onPowerOff();
        return;
      }
      default:
        return;
    }
  }

  #timerTicks(): number {
    return Math.floor(this.#timerBase + this.#clock.monotonicMs() * PM_TIMER_TICKS_PER_MS);
  }

  #startTimerAt(ticks: number): void {
    // Half a count over, so that rounding of the difference cannot make it one less.
    this.#timerBase = ticks + 0.5 - this.#clock.monotonicMs() * PM_TIMER_TICKS_PER_MS;
    this.#halvesSeen = Math.floor(this.#timerTicks() / TIMER_HALF);
  }

  #noteTimer(): void {
    const halves = Math.floor(this.#timerTicks() / TIMER_HALF);
    if (halves !== this.#halvesSeen) {
      this.#halvesSeen = halves;
      this.#status |= Pm1.Timer;
    }
  }

  #update(): void {
    const asserted = (this.#status & this.#enable & INTERRUPT_MASK) !== 0;
    if (asserted !== this.#asserted) {
      this.#asserted = asserted;
      this.#interrupt.set(asserted);
    }
    this.#armTimer();
  }

  /** With the timer's interrupt enabled someone has to wake up when the top bit changes. */
  #armTimer(): void {
    const wanted = (this.#enable & Pm1.Timer) !== 0 && (this.#status & Pm1.Timer) === 0;
    if (!wanted) {
      this.#cancelTimer?.();
      this.#cancelTimer = null;
    } else if (this.#cancelTimer === null) {
      const ticksLeft = (this.#halvesSeen + 1) * TIMER_HALF - this.#timerTicks();
      this.#cancelTimer = this.#clock.after(ticksLeft / PM_TIMER_TICKS_PER_MS + 1, () => {
        this.#cancelTimer = null;
        this.#noteTimer();
        this.#update();
      });
    }
  }
}
