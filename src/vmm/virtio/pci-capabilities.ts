/**
 * Where the structures of virtio-pci lie in the BAR, and the capabilities that tell the driver (virtio 1.2, 4.1.4).
 */
import { CapabilityId } from "../bus/pci/bits.ts";
import type { PciFunction } from "../bus/pci/function.ts";
import type { RegisterBlock } from "../contract.ts";
import { CommonCfg, PciCap, PciCapType, PciCfgCap, PciNotifyCap } from "./bits.ts";

/** Which structure is on which page of the BAR. */
export const Page = { common: 0, isr: 1, device: 2, notify: 3, msixTable: 4, msixPba: 5 } as const;
export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 1 << PAGE_SHIFT;
export const BAR = 0;
export const BAR_SIZE = 8 * PAGE_SIZE;
/** Bytes between the doorbells of two queues (queue_notify_off counts queues). */
export const NOTIFY_STRIDE = 4;
/** A structure has at least this size, also when the device has no configuration. */
const STRUCTURE_SIZE_MIN = 4;

/** Adds the five capabilities to `fn`; `bar` is what the configuration access capability reaches. */
export function addVirtioCapabilities(
  fn: PciFunction,
  deviceConfigSize: number,
  queues: number,
  bar: RegisterBlock,
): void {
  const structures = [
    { cfg_type: PciCapType.COMMON_CFG, page: Page.common, length: CommonCfg.size },
    { cfg_type: PciCapType.ISR_CFG, page: Page.isr, length: 1 },
    {
      cfg_type: PciCapType.DEVICE_CFG,
      page: Page.device,
      length: Math.max(STRUCTURE_SIZE_MIN, deviceConfigSize),
    },
  ];
  for (const { cfg_type, page, length } of structures) {
    const cap = PciCap.encode({
      cap_len: PciCap.size,
      cfg_type,
      bar: BAR,
      offset: page << PAGE_SHIFT,
      length,
    });
    fn.addCapability({ id: CapabilityId.vendorSpecific, body: cap.subarray(2) });
  }
  const notify = PciNotifyCap.encode({
    cap: {
      ...PciCap.zero,
      cap_len: PciNotifyCap.size,
      cfg_type: PciCapType.NOTIFY_CFG,
      bar: BAR,
      offset: Page.notify << PAGE_SHIFT,
      length: NOTIFY_STRIDE * queues,
    },
    notify_off_multiplier: NOTIFY_STRIDE,
  });
  fn.addCapability({ id: CapabilityId.vendorSpecific, body: notify.subarray(2) });
  addConfigurationAccess(fn, bar);
}

/** VIRTIO_PCI_CAP_PCI_CFG: firmware that cannot map the BAR reaches it through configuration space (4.1.4.9). */
function addConfigurationAccess(fn: PciFunction, bar: RegisterBlock): void {
  const fixed = { ...PciCap.zero, cap_len: PciCfgCap.size, cfg_type: PciCapType.PCI_CFG };
  const writable = { ...PciCap.zero, bar: 0xff, offset: 0xffff_ffff, length: 0xffff_ffff };
  const data = PciCfgCap.offset.pci_cfg_data;
  /** The place the capability names, or null when it is none. */
  const target = (touchesData: boolean): { offset: number; width: number } | null => {
    const { offset, length, bar: index } = PciCap.decode(fn.config, start);
    const possible = length === 1 || length === 2 || length === 4;
    if (!touchesData || !possible || index !== BAR || offset % length !== 0) return null;
    return offset + length <= BAR_SIZE ? { offset, width: length } : null;
  };
  const start = fn.addCapability({
    id: CapabilityId.vendorSpecific,
    body: PciCfgCap.encode({ cap: fixed }).subarray(2),
    writeMask: PciCfgCap.encode({ cap: writable, pci_cfg_data: 0xffff_ffff }).subarray(2),
    onRead: (offset, size) => {
      const place = target(offset + size > data);
      if (place === null) return;
      PciCfgCap.patch(fn.config, start, { pci_cfg_data: bar.read(place.offset, place.width) });
    },
    onWrite: (offset, size) => {
      const place = target(offset + size > data);
      if (place === null) return;
      const value = PciCfgCap.decode(fn.config, start).pci_cfg_data;
      bar.write(place.offset, place.width, value % 2 ** (8 * place.width));
    },
  });
}
