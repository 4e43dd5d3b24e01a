/**
 * The MC146818 real-time clock and the battery-backed memory behind it, at ports 0x70 (index) and 0x71 (data).
 *
 * The time is the host's wall clock plus an offset; a guest that sets the clock changes the offset. While the guest
 * holds the clock (register B, SET) the time registers are plain memory, and letting go takes the offset from them.
 * Update, alarm and periodic events are noted when someone looks (register C) and, where their interrupt is enabled,
 * by a timer.
 */
import { GiB, KiB, MiB } from "../../../base/addresses.ts";
import type { Clock, DeviceState, InterruptLine, RegisterBlock, Stateful } from "../../contract.ts";
import { layoutRam } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { ALARM_ANY, CMOS_SIZE, Cmos, Register, RegisterA, RegisterB, RegisterC, RegisterD } from "./bits.ts";
import { decodeTime, encodeTime, fromRegister, HOUR_REGISTER } from "./time.ts";

export interface RtcPorts {
  /** GSI 8. */
  readonly interrupt: InterruptLine;
  readonly clock: Clock;
  /** For the memory sizes that old software reads from CMOS. */
  readonly memoryBytes: number;
  /** Where RAM below 4 GiB ends; absent: at the usual place. */
  readonly pciHoleStart?: number;
  readonly cpus: number;
}

const STATE_VERSION = 2;
const INDEX_MASK = 0x7f;
/** 1024 Hz, as PC firmware leaves it. */
const RATE_AT_RESET = 6;
/** The chip raises UIP 244 µs before an update and takes about 2 ms for it. */
const UPDATE_MS = 2;
const INTERRUPTS = RegisterB.UpdateInterrupt | RegisterB.AlarmInterrupt | RegisterB.PeriodicInterrupt;
/** After a longer gap only the newest seconds are compared with the alarm: nobody was waiting for it. */
const ALARM_LOOKBACK_S = 120;
/** Periodic interrupts come no more often than this; the count in between is lost, as with a slow guest. */
const PERIOD_MIN_MS = 1;

export class Rtc implements RegisterBlock, Stateful {
  readonly #interrupt: InterruptLine;
  readonly #clock: Clock;
  readonly #ram: ReturnType<typeof layoutRam>;
  readonly #cpus: number;

  readonly #cmos = new Uint8Array(CMOS_SIZE);
  #index = 0;
  /** The guest's time is the host's wall clock plus this. */
  #offsetMs = 0;
  /** The last second (since the epoch, guest's time) whose events are in register C. */
  #secondSeen = 0;
  #cancelTimer: (() => void) | null = null;
  #asserted = false;

  constructor(ports: RtcPorts) {
    this.#interrupt = ports.interrupt;
    this.#clock = ports.clock;
    this.#ram = layoutRam(ports.memoryBytes, ports.pciHoleStart);
    this.#cpus = ports.cpus;
    this.#initialise();
  }

  read(offset: number, size: number): number {
    const value = offset === 0 ? 0xff : this.#readRegister(this.#index);
    return size === 1 ? value : size === 2 ? value | 0xff00 : (value | 0xffff_ff00) >>> 0;
  }

  write(offset: number, size: number, value: number): void {
    if (offset === 0) {
      // The top bit masks non-maskable interrupts on a PC; there are none here.
      this.#index = value & INDEX_MASK;
      // A word written to the index port carries the data in its upper half.
      if (size >= 2) this.#writeRegister(this.#index, (value >>> 8) & 0xff);
    } else {
      this.#writeRegister(this.#index, value & 0xff);
    }
  }

  /** Power-on. The time goes on: it has a battery. */
  reset(): void {
    this.#initialise();
    this.#update();
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      index: this.#index,
      cmos: Array.from(this.#cmos),
      offsetMs: this.#offsetMs,
      // An alarm between the last look and the restoring is still to be told.
      secondSeen: this.#secondSeen,
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the real-time clock", state, STATE_VERSION);
    const cmos = from.bytes("cmos", CMOS_SIZE);
    const secondSeen = from.integer("secondSeen", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    this.#offsetMs = from.finite("offsetMs");
    this.#index = from.integer("index", 0, INDEX_MASK);
    this.#cmos.fill(0);
    this.#cmos.set(cmos);
    this.#secondSeen = secondSeen;
    this.#update();
  }

  #initialise(): void {
    const cmos = this.#cmos;
    cmos.fill(0);
    cmos[Register.A] = RegisterA.Divider32kHz | RATE_AT_RESET;
    cmos[Register.B] = RegisterB.Hours24;
    this.#index = 0;
    this.#secondSeen = this.#second();
    const low = this.#ram[0]?.sizeBytes ?? 0;
    const high = this.#ram[1]?.sizeBytes ?? 0;
    const word = (at: number, value: number) => {
      const clamped = Math.max(0, Math.min(0xffff, Math.floor(value)));
      cmos[at] = clamped;
      cmos[at + 1] = clamped >>> 8;
    };
    word(Cmos.BaseMemoryKiB, 640);
    word(Cmos.ExtendedMemoryKiB, (low - MiB) / KiB);
    word(Cmos.ExtendedMemoryKiBAgain, (low - MiB) / KiB);
    word(Cmos.MemoryAbove16MiB, (low - 16 * MiB) / (64 * KiB));
    const units = Math.floor(Math.min(high, 1024 * GiB) / (64 * KiB));
    word(Cmos.MemoryAbove4GiB, units & 0xffff);
    cmos[Cmos.MemoryAbove4GiB + 2] = units >>> 16;
    cmos[Cmos.CpuCount] = this.#cpus - 1;
  }

  #readRegister(index: number): number {
    const stored = this.#cmos[index] as number;
    switch (index) {
      case Register.A:
        return stored | (this.#updateInProgress() ? RegisterA.UpdateInProgress : 0);
      case Register.C: {
        this.#noteEvents();
        const flags = this.#cmos[Register.C] as number;
        this.#cmos[Register.C] = 0;
        this.#update();
        return flags;
      }
      case Register.D:
        return RegisterD.ValidRamAndTime;
      default:
        if (!isTimeRegister(index)) return stored;
        if (this.#running()) encodeTime(this.#second(), this.#cmos);
        return this.#cmos[index] as number;
    }
  }

  #writeRegister(index: number, value: number): void {
    const cmos = this.#cmos;
    switch (index) {
      case Register.A:
        this.#changeMode(() => {
          cmos[Register.A] = value & (RegisterA.RateMask | RegisterA.DividerMask);
        });
        return;
      case Register.B:
        this.#changeMode(() => {
          // Setting SET also turns the update interrupt off, in the chip.
          cmos[Register.B] = value & RegisterB.Set ? value & ~RegisterB.UpdateInterrupt : value;
        });
        return;
      case Register.C:
      case Register.D:
        return;
      default:
        if (isTimeRegister(index) && this.#running()) {
          encodeTime(this.#second(), cmos);
          cmos[index] = value;
          this.#takeTimeFromRegisters();
        } else {
          cmos[index] = value;
        }
    }
  }

  /** Registers A and B stop and start the clock, and say how time is written. */
  #changeMode(change: () => void): void {
    this.#noteEvents();
    const ranBefore = this.#running();
    if (ranBefore) encodeTime(this.#second(), this.#cmos);
    change();
    if (!ranBefore && this.#running()) this.#takeTimeFromRegisters();
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#update();
  }

  #running(): boolean {
    const divider = (this.#cmos[Register.A] as number) & RegisterA.DividerMask;
    return ((this.#cmos[Register.B] as number) & RegisterB.Set) === 0 && divider < RegisterA.DividerReset;
  }

  #guestMs(): number {
    return this.#clock.wallMs() + this.#offsetMs;
  }

  #second(): number {
    return Math.floor(this.#guestMs() / 1000);
  }

  #takeTimeFromRegisters(): void {
    const seconds = decodeTime(this.#cmos);
    // Nonsense in the registers leaves the clock as it was: nothing sensible can be made of a 45th of Smarch.
    if (seconds !== null) this.#offsetMs += (seconds - this.#second()) * 1000;
    this.#secondSeen = this.#second();
  }

  #updateInProgress(): boolean {
    const ms = this.#guestMs();
    return this.#running() && ms - Math.floor(ms / 1000) * 1000 >= 1000 - UPDATE_MS;
  }

  /** Puts into register C what has happened since it was last looked at. */
  #noteEvents(): void {
    const second = this.#second();
    if (!this.#running() || second <= this.#secondSeen) {
      this.#secondSeen = Math.min(second, this.#secondSeen);
      return;
    }
    let flags: number = RegisterC.Update;
    for (let s = Math.max(this.#secondSeen + 1, second - ALARM_LOOKBACK_S); s <= second; s++) {
      if (this.#alarmMatches(s)) flags |= RegisterC.Alarm;
    }
    this.#secondSeen = second;
    this.#raise(flags);
  }

  #alarmMatches(second: number): boolean {
    const cmos = this.#cmos;
    const matches = (register: number, value: number) => {
      const alarm = cmos[register] as number;
      return (
        (alarm & ALARM_ANY) === ALARM_ANY ||
        fromRegister(alarm, register === Register.HoursAlarm, cmos) === value
      );
    };
    const ofDay = second - Math.floor(second / 86_400) * 86_400;
    return (
      matches(Register.SecondsAlarm, ofDay % 60) &&
      matches(Register.MinutesAlarm, Math.floor(ofDay / 60) % 60) &&
      matches(Register.HoursAlarm, Math.floor(ofDay / 3600))
    );
  }

  #raise(flags: number): void {
    this.#cmos[Register.C] = (this.#cmos[Register.C] as number) | flags;
  }

  /** Sets the request flag and the line, and arms the timer for the next event that would interrupt. */
  #update(): void {
    const enabled = (this.#cmos[Register.B] as number) & INTERRUPTS;
    const asserted = ((this.#cmos[Register.C] as number) & enabled) !== 0;
    if (asserted) this.#raise(RegisterC.Request);
    if (asserted !== this.#asserted) {
      this.#asserted = asserted;
      this.#interrupt.set(asserted);
    }
    const delayMs = this.#nextEventMs(enabled);
    if (delayMs === null) {
      this.#cancelTimer?.();
      this.#cancelTimer = null;
    } else if (this.#cancelTimer === null) {
      const periodic = (enabled & RegisterB.PeriodicInterrupt) !== 0;
      this.#cancelTimer = this.#clock.after(delayMs, () => {
        this.#cancelTimer = null;
        this.#noteEvents();
        if (periodic) this.#raise(RegisterC.Periodic);
        this.#update();
      });
    }
  }

  #nextEventMs(enabled: number): number | null {
    let delay: number | null = null;
    if (enabled & (RegisterB.UpdateInterrupt | RegisterB.AlarmInterrupt) && this.#running()) {
      const ms = this.#guestMs();
      delay = (Math.floor(ms / 1000) + 1) * 1000 - ms;
    }
    const rate = (this.#cmos[Register.A] as number) & RegisterA.RateMask;
    if (enabled & RegisterB.PeriodicInterrupt && rate !== 0) {
      // Rates 1 and 2 repeat 8 and 9 (data sheet, table 5).
      const period = Math.max(PERIOD_MIN_MS, 2 ** ((rate <= 2 ? rate + 7 : rate) - 1) / 32.768);
      delay = delay === null ? period : Math.min(delay, period);
    }
    return delay;
  }
}

function isTimeRegister(index: number): boolean {
  if (index === Register.Century) return true;
  return (
    index <= Register.Year && (index >= Register.DayOfWeek || index % 2 === 0 || index === HOUR_REGISTER)
  );
}
