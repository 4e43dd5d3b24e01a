/** Names and layouts of PCI configuration space: PCI Local Bus 3.0 chapter 6, PCI Express 5.0 chapter 7. */
import { ascii, packed, u8, u16, u32 } from "../../../base/layout.ts";

/** Bytes of configuration space that a conventional function has. */
export const CONFIG_SIZE = 256;
/** Bytes of configuration space per function in ECAM. */
export const ECAM_FUNCTION_SIZE = 4096;

/** Header of type 0 (PCI 3.0, 6.1). */
export const HeaderType0 = packed("type 0 header", "PCI 3.0, 6.1", {
  vendorId: u16,
  deviceId: u16,
  command: u16,
  status: u16,
  revisionId: u8,
  programmingInterface: u8,
  subclass: u8,
  baseClass: u8,
  cacheLineSize: u8,
  latencyTimer: u8,
  headerType: u8,
  bist: u8,
  bar0: u32,
  bar1: u32,
  bar2: u32,
  bar3: u32,
  bar4: u32,
  bar5: u32,
  cardbusCisPointer: u32,
  subsystemVendorId: u16,
  subsystemId: u16,
  expansionRom: u32,
  capabilitiesPointer: u8,
  reserved: ascii(7),
  interruptLine: u8,
  interruptPin: u8,
  minGrant: u8,
  maxLatency: u8,
});

/** Command register (PCI 3.0, 6.2.2). */
export const Command = {
  io: 1 << 0,
  memory: 1 << 1,
  busMaster: 1 << 2,
  parityError: 1 << 6,
  serrEnable: 1 << 8,
  interruptDisable: 1 << 10,
} as const;

/** Header type (PCI 3.0, 6.2.1): the slot has functions beside number 0. */
export const HEADER_MULTI_FUNCTION = 0x80;

/** Status register (PCI 3.0, 6.2.3). */
export const Status = { interrupt: 1 << 3, capabilitiesList: 1 << 4 } as const;

/** Low bits of a memory BAR (PCI 3.0, 6.2.5.1). */
export const BarFlag = { memory64: 0x4, prefetchable: 0x8 } as const;
export const BAR_COUNT = 6;
/** A memory BAR decodes at least 16 bytes: its low four bits are flags. */
export const BAR_SIZE_MIN = 16;

export const CapabilityId = { vendorSpecific: 0x09, msix: 0x11 } as const;

/** MSI-X capability (PCI 3.0, 6.8.2). */
export const MsixCapability = packed("MSI-X capability", "PCI 3.0, 6.8.2", {
  id: u8,
  next: u8,
  messageControl: u16,
  table: u32,
  pba: u32,
});

export const MsixControl = { tableSizeMask: 0x7ff, functionMask: 1 << 14, enable: 1 << 15 } as const;
export const MSIX_VECTORS_MAX = 2048;

/** One vector's entry in the MSI-X table (PCI 3.0, 6.8.2.6 to 6.8.2.9). */
export const MsixEntry = packed("MSI-X table entry", "PCI 3.0, 6.8.2", {
  addressLow: u32,
  addressHigh: u32,
  data: u32,
  control: u32,
});
export const MSIX_ENTRY_MASKED = 1;

/** CONFIG_ADDRESS of configuration mechanism 1 (PCI 3.0, 3.2.2.3.2). */
export const CONFIG_ADDRESS_ENABLE = 0x8000_0000;
