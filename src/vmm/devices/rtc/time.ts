/**
 * Time as the MC146818's registers hold it: binary or packed decimal, 24 or 12 hours, as register B says.
 *
 * Days are counted by the civil calendar in plain arithmetic, because the engine's Date would have to be allocated
 * for every register read.
 */
import { HOURS_PM, Register, RegisterB } from "./bits.ts";

export const HOUR_REGISTER: number = Register.Hours;
const SECONDS_PER_DAY = 86_400;
const CUMULATIVE_DAYS = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

/** Writes `second` (since the Unix epoch) into the time registers of `cmos`. */
export function encodeTime(second: number, cmos: Uint8Array): void {
  const day = Math.floor(second / SECONDS_PER_DAY);
  const ofDay = second - day * SECONDS_PER_DAY;
  let year = 1970 + Math.floor(day / 365.2425);
  while (daysBefore(year) > day) year--;
  while (daysBefore(year + 1) <= day) year++;
  let ofYear = day - daysBefore(year);
  let month = 1;
  while (month < 12 && ofYear >= daysInMonth(year, month)) ofYear -= daysInMonth(year, month++);
  const put = (register: number, value: number) => {
    cmos[register] = toRegister(value, register === HOUR_REGISTER, cmos);
  };
  put(Register.Seconds, ofDay % 60);
  put(Register.Minutes, Math.floor(ofDay / 60) % 60);
  put(Register.Hours, Math.floor(ofDay / 3600));
  // Sunday is 1; the epoch was a Thursday.
  put(Register.DayOfWeek, ((((day + 4) % 7) + 7) % 7) + 1);
  put(Register.DayOfMonth, ofYear + 1);
  put(Register.Month, month);
  put(Register.Year, ((year % 100) + 100) % 100);
  put(Register.Century, Math.floor(year / 100));
}

/** Seconds since the Unix epoch that the time registers say, or null when they name no date. */
export function decodeTime(cmos: Uint8Array): number | null {
  const get = (register: number) => fromRegister(cmos[register] as number, register === HOUR_REGISTER, cmos);
  const seconds = get(Register.Seconds);
  const minutes = get(Register.Minutes);
  const hours = get(Register.Hours);
  const day = get(Register.DayOfMonth);
  const month = get(Register.Month);
  const year = get(Register.Century) * 100 + get(Register.Year);
  if (seconds > 59 || minutes > 59 || hours > 23 || month < 1 || month > 12 || year < 1900 || year > 9999)
    return null;
  if (day < 1 || day > daysInMonth(year, month)) return null;
  let ofYear = day - 1;
  for (let m = 1; m < month; m++) ofYear += daysInMonth(year, m);
  return (daysBefore(year) + ofYear) * SECONDS_PER_DAY + hours * 3600 + minutes * 60 + seconds;
}

/** A number as a register of this mode holds it. */
function toRegister(value: number, isHours: boolean, cmos: Uint8Array): number {
  const mode = cmos[Register.B] as number;
  if (isHours && !(mode & RegisterB.Hours24)) {
    const hours = value % 12 === 0 ? 12 : value % 12;
    return (mode & RegisterB.Binary ? hours : toDecimal(hours)) | (value >= 12 ? HOURS_PM : 0);
  }
  return mode & RegisterB.Binary ? value : toDecimal(value);
}

/** The number that a register of this mode holds. */
export function fromRegister(stored: number, isHours: boolean, cmos: Uint8Array): number {
  const mode = cmos[Register.B] as number;
  const number = (raw: number) => (mode & RegisterB.Binary ? raw : (raw >>> 4) * 10 + (raw & 0x0f));
  if (isHours && !(mode & RegisterB.Hours24)) {
    return (number(stored & ~HOURS_PM) % 12) + (stored & HOURS_PM ? 12 : 0);
  }
  return number(stored);
}

function toDecimal(value: number): number {
  return (Math.floor(value / 10) << 4) | (value % 10);
}

function isLeap(year: number): boolean {
  return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
}

function daysInMonth(year: number, month: number): number {
  const days = (CUMULATIVE_DAYS[month] as number) - (CUMULATIVE_DAYS[month - 1] as number);
  return month === 2 && isLeap(year) ? days + 1 : days;
}

/** Days from the Unix epoch to the first of January. */
function daysBefore(year: number): number {
  const y = year - 1;
  return (
    365 * (year - 1970) + (Math.floor(y / 4) - 492) - (Math.floor(y / 100) - 19) + (Math.floor(y / 400) - 4)
  );
}
