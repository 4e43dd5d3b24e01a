/**
 * Registers of the Bochs display adapter (VBE DISPI interface) as QEMU's bochs-display device lays them out in PCI BAR 2,
 * by the names of its drivers: Linux's bochs-drm, OVMF's QemuVideoDxe.
 */
import { packed, u8, u16, u32 } from "../../../base/layout.ts";

/** What BAR 2 holds where. */
export const BochsMmio = packed("bochs-display BAR 2", "QEMU, docs/specs/standard-vga.rst", {
  /** EDID data. */
  edid: bytesUpTo(0x400),
  /** VGA's I/O ports 0x3c0 to 0x3df, on adapters that have VGA; this one has not. */
  vgaPorts: bytesUpTo(0x100),
  dispi: bytesUpTo(0x100),
  extensionSize: u32,
  endianness: u32,
});
export const BAR2_BYTES = 4096;

/** A stretch of registers that are not one number. */
function bytesUpTo(length: number) {
  return { ...u8, size: length };
}

/** Indexes of the 16-bit registers at `BochsMmio.dispi`. */
export const Dispi = packed("VBE DISPI registers", "Bochs, iodev/display/vga.h", {
  id: u16,
  xRes: u16,
  yRes: u16,
  bitsPerPixel: u16,
  enable: u16,
  bank: u16,
  virtualWidth: u16,
  virtualHeight: u16,
  xOffset: u16,
  yOffset: u16,
  videoMemory64K: u16,
});

/** The newest version of the interface. */
export const DISPI_ID5 = 0xb0c5;
export const DispiEnable = { enabled: 0x01, getCapabilities: 0x02 } as const;

/** Bytes of registers that follow `extensionSize`, itself included. */
export const EXTENSION_BYTES = 8;
export const Endianness = { little: 0x1e1e_1e1e, big: 0xbebe_bebe } as const;

export const BOCHS_VENDOR = 0x1234;
export const BOCHS_DEVICE = 0x1111;
/** From revision 2 on the registers at `extensionSize` are there. */
export const BOCHS_REVISION = 2;
/** Display controller, "other": one without VGA's ports and memory. */
export const CLASS_DISPLAY_OTHER = 0x03_80_00;
