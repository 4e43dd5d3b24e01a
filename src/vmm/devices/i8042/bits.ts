/** Commands and flags of the i8042 keyboard controller, as in IBM's PS/2 technical reference and every PC since. */

/** Status register, read at port 0x64. */
export const Status = {
  OutputFull: 0x01,
  InputFull: 0x02,
  System: 0x04,
  CommandLast: 0x08,
  NotLocked: 0x10,
  AuxiliaryOutput: 0x20,
  Timeout: 0x40,
} as const;

/** Commands, written to port 0x64. */
export const Command = {
  ReadMemory: 0x20,
  ReadMemoryLast: 0x3f,
  WriteMemory: 0x60,
  WriteMemoryLast: 0x7f,
  DisableAuxiliary: 0xa7,
  EnableAuxiliary: 0xa8,
  TestAuxiliary: 0xa9,
  SelfTest: 0xaa,
  TestKeyboard: 0xab,
  DisableKeyboard: 0xad,
  EnableKeyboard: 0xae,
  ReadInputPort: 0xc0,
  ReadOutputPort: 0xd0,
  WriteOutputPort: 0xd1,
  WriteKeyboardOutput: 0xd2,
  WriteAuxiliaryOutput: 0xd3,
  WriteAuxiliary: 0xd4,
  /** 0xF0 to 0xFF pulse those output lines low whose bit is 0; bit 0 is the CPU's reset line. */
  PulseOutput: 0xf0,
} as const;

/** Command byte (byte 0 of the controller's memory). */
export const CommandByte = {
  KeyboardInterrupt: 0x01,
  AuxiliaryInterrupt: 0x02,
  System: 0x04,
  KeyboardDisabled: 0x10,
  AuxiliaryDisabled: 0x20,
  Translate: 0x40,
} as const;

export const OutputPort = { NotReset: 0x01, A20: 0x02 } as const;

export const SELF_TEST_PASSED = 0x55;
export const TEST_PASSED = 0x00;
/** The clock line never rose: nothing is wired to the port. */
export const TEST_CLOCK_LOW = 0x01;
/** What a controller puts into the output buffer, with the timeout flag, when a device does not answer. */
export const NO_ANSWER = 0xfe;

/** Commands to a PS/2 keyboard. */
export const KeyboardCommand = {
  setIndicators: 0xed,
  echo: 0xee,
  scanCodeSet: 0xf0,
  identify: 0xf2,
  setRate: 0xf3,
  enable: 0xf4,
  disable: 0xf5,
  setDefaults: 0xf6,
  resend: 0xfe,
  reset: 0xff,
} as const;

export const KeyboardAnswer = {
  acknowledge: 0xfa,
  selfTestPassed: 0xaa,
  resend: 0xfe,
  identity: [0xab, 0x83],
} as const;

/** Before the code of a key that came with the enhanced keyboard. */
export const SCAN_CODE_EXTENDED = 0xe0;
/** In set 2, before the code of a key that is let go; in set 1 the code's top bit says so. */
export const SCAN_CODE_BREAK = 0xf0;
export const SET_1_BREAK = 0x80;
