/** Names of the firmware configuration device: QEMU's docs/specs/fw_cfg, which OVMF and Linux follow. */
import { ascii, be16, be32, be64, packed } from "../../../base/layout.ts";

/** Offsets from the first port. */
export const FwCfgOffset = { selector: 0, data: 1, dmaHigh: 4, dmaLow: 8 } as const;

/** Selector keys that are not files. */
export const FwCfgKey = {
  signature: 0x00,
  interfaceVersion: 0x01,
  ramSize: 0x03,
  cpuCount: 0x05,
  kernelSize: 0x08,
  initrdSize: 0x0b,
  maxCpus: 0x0f,
  kernelData: 0x11,
  initrdData: 0x12,
  commandLineSize: 0x14,
  commandLineData: 0x15,
  setupSize: 0x17,
  setupData: 0x18,
  fileDirectory: 0x19,
  firstFile: 0x20,
} as const;

/** Selects the same item for writing; nothing here is written by the guest. */
export const WRITE_CHANNEL = 0x4000;
/** Interface version: the traditional ports and DMA. */
export const INTERFACE_VERSION = 0b11;

export const FileEntry = packed("FWCfgFile", "QEMU fw_cfg, file directory", {
  size: be32,
  select: be16,
  reserved: be16,
  name: ascii(56),
});
/** One of the name's bytes is its terminating zero. */
export const FILE_NAME_MAX: number = FileEntry.size - FileEntry.offset.name - 1;

export const DmaAccess = packed("FWCfgDmaAccess", "QEMU fw_cfg, DMA interface", {
  control: be32,
  length: be32,
  address: be64,
});

export const DmaControl = { error: 0x01, read: 0x02, skip: 0x04, select: 0x08, write: 0x10 } as const;
/** The selector of a DMA access is the upper half of its control field. */
export const DMA_SELECTOR_SHIFT = 16;

/** What the DMA register reads as: "QEMU CFG" in big endian. */
export const DMA_SIGNATURE = "QEMU CFG";
export const SIGNATURE = "QEMU";
