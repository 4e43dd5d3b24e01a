/** Commands and tables of a parallel NOR flash: Common Flash Interface (JESD68), Intel's basic command set (0x0001). */
import { array, ascii, packed, u8, u16 } from "../../../base/layout.ts";

export const FlashCommand = {
  readArrayZero: 0x00,
  program: 0x10,
  blockErase: 0x20,
  programAlternative: 0x40,
  clearStatus: 0x50,
  lockSetup: 0x60,
  readStatus: 0x70,
  readId: 0x90,
  readQuery: 0x98,
  confirm: 0xd0,
  readArray: 0xff,
} as const;

export const FlashStatus = { ready: 0x80, eraseError: 0x20, programError: 0x10 } as const;

/** Bytes that one erase makes 0xff. OVMF's variable store is laid out in such blocks. */
export const BLOCK_BYTES = 4096;
export const ERASED = 0xff;

/** Identifier mode: manufacturer (Intel) and device, then each block's lock bit, which is never set. */
export const IDENTIFIER = [0x89, 0x18] as const;

/** What query mode shows from offset 0x10 on. */
export const CfiQuery = packed("CFI query", "JESD68.01, 4.3", {
  query: ascii(3),
  primaryCommandSet: u16,
  primaryTable: u16,
  alternateCommandSet: u16,
  alternateTable: u16,
  vccMin: u8,
  vccMax: u8,
  vppMin: u8,
  vppMax: u8,
  /** Exponents of two: µs for a byte and a buffer, ms for a block and the chip, then how much longer at worst. */
  timeouts: array(u8, 8),
  sizeExponent: u8,
  interfaceCode: u16,
  /** No buffered writes. */
  writeBufferExponent: u16,
  eraseRegions: u8,
  blocksLessOne: u16,
  blockBytesIn256: u16,
  extended: ascii(5),
  features: array(u8, 8),
});
export const CFI_QUERY_START = 0x10;
export const INTEL_COMMAND_SET = 0x0001;
