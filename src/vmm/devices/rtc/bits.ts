/** Registers and flags of the MC146818 real-time clock, by the names of Motorola's data sheet, and what PCs keep behind them. */

export const Register = {
  Seconds: 0x00,
  SecondsAlarm: 0x01,
  Minutes: 0x02,
  MinutesAlarm: 0x03,
  Hours: 0x04,
  HoursAlarm: 0x05,
  DayOfWeek: 0x06,
  DayOfMonth: 0x07,
  Month: 0x08,
  Year: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  /** Not the chip's but the PC's; the FADT names it. */
  Century: 0x32,
} as const;

export const RegisterA = {
  RateMask: 0x0f,
  DividerMask: 0x70,
  /** 32.768 kHz, the only crystal PCs have. */
  Divider32kHz: 0x20,
  /** Both values of the divider bits with these set hold the clock. */
  DividerReset: 0x60,
  UpdateInProgress: 0x80,
} as const;

export const RegisterB = {
  DaylightSaving: 0x01,
  Hours24: 0x02,
  Binary: 0x04,
  SquareWave: 0x08,
  UpdateInterrupt: 0x10,
  AlarmInterrupt: 0x20,
  PeriodicInterrupt: 0x40,
  Set: 0x80,
} as const;

export const RegisterC = { Update: 0x10, Alarm: 0x20, Periodic: 0x40, Request: 0x80 } as const;

export const RegisterD = { ValidRamAndTime: 0x80 } as const;

/** In 12-hour mode the top bit of the hours says afternoon. */
export const HOURS_PM = 0x80;
/** An alarm register with both top bits set matches any value. */
export const ALARM_ANY = 0xc0;

/** Configuration bytes that PC firmware keeps in the battery-backed memory. Sizes are in the unit named. */
export const Cmos = {
  BaseMemoryKiB: 0x15,
  ExtendedMemoryKiB: 0x17,
  ExtendedMemoryKiBAgain: 0x30,
  /** RAM from 16 MiB up to the PCI hole, in units of 64 KiB. */
  MemoryAbove16MiB: 0x34,
  /** RAM from 4 GiB up, in units of 64 KiB, three bytes. */
  MemoryAbove4GiB: 0x5b,
  /** Number of CPUs less one. */
  CpuCount: 0x5f,
} as const;

export const CMOS_SIZE = 128;
