/** Names and layouts every virtio device shares: virtio 1.2. */
import { bytes, packed, u8, u16, u32 } from "../../base/layout.ts";

/** Device status (virtio 1.2, 2.1). */
export const DeviceStatus = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  DEVICE_NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Bit numbers of features that concern queues and transport (virtio 1.2, 6). */
export const Feature = {
  RING_INDIRECT_DESC: 28,
  RING_EVENT_IDX: 29,
  VERSION_1: 32,
} as const;

/** Device ids (virtio 1.2, 5). */
export const DeviceType = {
  net: 1,
  block: 2,
  console: 3,
  entropy: 4,
  balloon: 5,
  scsi: 8,
  input: 18,
  vsock: 19,
} as const;

/** struct virtq_desc (2.7.5). */
export const Descriptor = packed("virtq_desc", "virtio 1.2, 2.7.5", {
  addressLow: u32,
  addressHigh: u32,
  length: u32,
  flags: u16,
  next: u16,
});
export const DescriptorFlag = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;

/** Fixed parts of struct virtq_avail (2.7.6): the ring follows, then used_event. */
export const AvailableHeader = packed("virtq_avail", "virtio 1.2, 2.7.6", { flags: u16, index: u16 });
export const AVAILABLE_NO_INTERRUPT = 1;

/** Fixed parts of struct virtq_used (2.7.8): the ring follows, then avail_event. */
export const UsedHeader = packed("virtq_used", "virtio 1.2, 2.7.8", { flags: u16, index: u16 });
export const UsedElement = packed("virtq_used_elem", "virtio 1.2, 2.7.8", { id: u32, length: u32 });
export const USED_NO_NOTIFY = 1;

/** Queue sizes are powers of two up to this (2.7). */
export const QUEUE_SIZE_MAX = 32768;

/** PCI ids (4.1.2). Non-transitional devices have 0x1040 plus the device type, revision 1 or higher. */
export const PCI_VENDOR_ID = 0x1af4;
export const PCI_DEVICE_ID_BASE = 0x1040;
export const PCI_REVISION_ID = 1;
/** What drivers for modern devices match on: subsystem ids of 0x40 or higher (4.1.2.1). */
export const PCI_SUBSYSTEM_ID = 0x1100;

/** Types of structures that capabilities point at (4.1.4). */
export const PciCapType = { COMMON_CFG: 1, NOTIFY_CFG: 2, ISR_CFG: 3, DEVICE_CFG: 4, PCI_CFG: 5 } as const;

/** struct virtio_pci_cap (4.1.4). */
export const PciCap = packed("virtio_pci_cap", "virtio 1.2, 4.1.4", {
  cap_vndr: u8,
  cap_next: u8,
  cap_len: u8,
  cfg_type: u8,
  bar: u8,
  id: u8,
  padding: bytes(2),
  offset: u32,
  length: u32,
});
/** struct virtio_pci_notify_cap (4.1.4.4). */
export const PciNotifyCap = packed("virtio_pci_notify_cap", "virtio 1.2, 4.1.4.4", {
  cap: PciCap,
  notify_off_multiplier: u32,
});
/** struct virtio_pci_cfg_cap (4.1.4.9). */
export const PciCfgCap = packed("virtio_pci_cfg_cap", "virtio 1.2, 4.1.4.9", {
  cap: PciCap,
  pci_cfg_data: u32,
});

/** struct virtio_pci_common_cfg (4.1.4.3). */
export const CommonCfg = packed("virtio_pci_common_cfg", "virtio 1.2, 4.1.4.3", {
  device_feature_select: u32,
  device_feature: u32,
  driver_feature_select: u32,
  driver_feature: u32,
  config_msix_vector: u16,
  num_queues: u16,
  device_status: u8,
  config_generation: u8,
  queue_select: u16,
  queue_size: u16,
  queue_msix_vector: u16,
  queue_enable: u16,
  queue_notify_off: u16,
  queue_desc_low: u32,
  queue_desc_high: u32,
  queue_driver_low: u32,
  queue_driver_high: u32,
  queue_device_low: u32,
  queue_device_high: u32,
});

/** ISR status (4.1.4.5). */
export const Isr = { QUEUE: 1, CONFIG: 2 } as const;
export const NO_VECTOR = 0xffff;

/** The bit of a feature in the dword it belongs to. */
export function featureBit(feature: number): number {
  return (1 << (feature & 31)) >>> 0;
}
