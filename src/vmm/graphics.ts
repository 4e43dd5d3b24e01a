/** The machine's graphics: the display adapter on the PCI bus, with memory that KVM shows to the guest. */
import { guestPhysical } from "../base/addresses.ts";
import { mapGuestRam } from "../sys/memory.ts";
import type { LinearScreen } from "./boot/screen-info.ts";
import type { PciBus } from "./bus/pci/bus.ts";
import { BochsDisplay } from "./devices/display/bochs-display.ts";
import { PREFERRED_HEIGHT, PREFERRED_WIDTH } from "./devices/display/edid.ts";
import { VIDEO_MEMORY_BYTES, type VideoMemory } from "./devices/display/screen.ts";
import type { KvmVm } from "./kvm/kvm.ts";
import { KvmMemorySlot } from "./kvm/memory-slot.ts";

/** Begins like the name of guest RAM: the host agent counts it with that. */
const VIDEO_MEMORY_NAME = "guest-ram-video";
/** Behind the disks' slots. */
const DISPLAY_SLOT = 27;

/** Makes the adapter and puts it on the bus. */
export function attachDisplay(vm: KvmVm, pci: PciBus): BochsDisplay {
  const range = { start: guestPhysical(0), sizeBytes: VIDEO_MEMORY_BYTES };
  const ram = mapGuestRam(VIDEO_MEMORY_NAME, [range]);
  const host = (ram.regions[0] as (typeof ram.regions)[number]).host;
  const slot = new KvmMemorySlot(vm, { host, sizeBytes: VIDEO_MEMORY_BYTES });
  const memory: VideoMemory = {
    bytes: new Uint8Array(ram.map(range, 0, VIDEO_MEMORY_BYTES)),
    place: (address) => slot.place(address === null ? null : guestPhysical(address)),
    setLogging: (logging) => slot.setLogging(logging),
    takeDirty: (pages) => slot.takeDirty(pages),
  };
  const display = new BochsDisplay(memory);
  pci.add(DISPLAY_SLOT, display.function);
  return display;
}

/** Sets a picture as firmware would, for a kernel that is loaded without any. */
export function firmwareScreen(display: BochsDisplay): LinearScreen {
  display.setMode(PREFERRED_WIDTH, PREFERRED_HEIGHT);
  return {
    address: display.function.barAddress(0) as number,
    sizeBytes: VIDEO_MEMORY_BYTES,
    width: PREFERRED_WIDTH,
    height: PREFERRED_HEIGHT,
  };
}
