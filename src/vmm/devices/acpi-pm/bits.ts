/** ACPI fixed hardware registers, by the names of ACPI 6.5, section 4.8.3. */

/** PM1 status and enable registers share their bit positions. */
export const Pm1 = {
  Timer: 1 << 0,
  BusMaster: 1 << 4,
  GlobalLock: 1 << 5,
  PowerButton: 1 << 8,
  SleepButton: 1 << 9,
  Rtc: 1 << 10,
  PciExpressWake: 1 << 14,
  Wake: 1 << 15,
} as const;

/** PM1 control register. */
export const Pm1Control = {
  SciEnable: 1 << 0,
  BusMasterReload: 1 << 1,
  GlobalRelease: 1 << 2,
  SleepTypeShift: 10,
  SleepTypeMask: 7 << 10,
  SleepEnable: 1 << 13,
} as const;

/** What the guest writes to SLP_TYP for soft-off; the DSDT's \_S5 says so, and OVMF takes it for granted. */
export const SLEEP_TYPE_S5 = 0;

/** Counts of the power management timer in a millisecond: 3.579545 MHz. */
export const PM_TIMER_TICKS_PER_MS = 3579.545;
