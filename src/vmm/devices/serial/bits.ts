/** Registers and flags of the 16550A UART, by the names of National Semiconductor's PC16550D data sheet. */

export const Register = {
  /** Receiver buffer (read), transmitter holding (write); divisor low when DLAB. */
  Data: 0,
  /** Interrupt enable; divisor high when DLAB. */
  InterruptEnable: 1,
  /** Interrupt identification (read), FIFO control (write). */
  InterruptId: 2,
  LineControl: 3,
  ModemControl: 4,
  LineStatus: 5,
  ModemStatus: 6,
  Scratch: 7,
} as const;

/** Interrupt enable register. */
export const Ier = {
  ReceivedData: 0x01,
  TransmitterEmpty: 0x02,
  LineStatus: 0x04,
  ModemStatus: 0x08,
  Mask: 0x0f,
} as const;

/** Interrupt identification register: the source of highest priority; `None` has the "no interrupt" bit. */
export const Iir = {
  None: 0x01,
  ModemStatus: 0x00,
  TransmitterEmpty: 0x02,
  ReceivedData: 0x04,
  LineStatus: 0x06,
  CharacterTimeout: 0x0c,
  FifosEnabled: 0xc0,
} as const;

/** FIFO control register. */
export const Fcr = { Enable: 0x01, ClearReceiver: 0x02, ClearTransmitter: 0x04, TriggerShift: 6 } as const;

export const Lcr = { Break: 0x40, DivisorLatch: 0x80 } as const;

export const Mcr = { Dtr: 0x01, Rts: 0x02, Out1: 0x04, Out2: 0x08, Loop: 0x10, Mask: 0x1f } as const;

export const Lsr = {
  DataReady: 0x01,
  Overrun: 0x02,
  TransmitterHoldingEmpty: 0x20,
  TransmitterEmpty: 0x40,
} as const;

export const Msr = {
  DeltaCts: 0x01,
  DeltaDsr: 0x02,
  TrailingRing: 0x04,
  DeltaCarrier: 0x08,
  Cts: 0x10,
  Dsr: 0x20,
  Ring: 0x40,
  Carrier: 0x80,
} as const;

/** Bytes in each FIFO. */
export const FIFO_SIZE = 16;
/** Receiver trigger level by the top two bits of the FIFO control register. */
export const TRIGGER_LEVEL = [1, 4, 8, 14] as const;
