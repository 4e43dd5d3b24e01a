/**
 * What a machine with guest firmware has beside the others: flash, the firmware configuration device, and the bridges
 * of a Q35. The boot CPU starts where KVM puts it after power-on: at the reset vector, in the flash's last bytes.
 */
import { forField, type OpenBootFile, openBootFile } from "../boot-files.ts";
import type { MmioBus } from "../bus/mmio.ts";
import type { PciBus } from "../bus/pci/bus.ts";
import type { PciFunction } from "../bus/pci/function.ts";
import type { PioBus } from "../bus/pio.ts";
import type { FirmwareBoot } from "../config.ts";
import { FwCfg } from "../devices/fw-cfg/fw-cfg.ts";
import { PCIEXBAR_WINDOW_BYTES } from "../devices/q35/bits.ts";
import { createHostBridge, createLpcBridge, ecamStart, LPC_SLOT } from "../devices/q35/chipset.ts";
import type { KvmVm } from "../kvm/kvm.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { Port, type Range } from "../platform.ts";
import { addFirmwareFiles } from "./files.ts";
import { attachFlash } from "./flash-banks.ts";
import { addKernelItems } from "./kernel-items.ts";

export interface FirmwareParts {
  readonly boot: FirmwareBoot;
  readonly name: string;
  readonly cpus: number;
  readonly memory: GuestMemory;
  readonly pciWindow64: Range | null;
  readonly vm: KvmVm;
  readonly pio: PioBus;
  readonly mmio: MmioBus;
  readonly pci: PciBus;
  readonly hostBridge: PciFunction;
  readonly onError: (error: unknown) => void;
}

/** The Q35's host bridge, which places `ecam` on the bus. */
export function firmwareHostBridge(mmio: MmioBus, ecam: () => PciBus["ecam"]): PciFunction {
  const region = mmio.register("PCI configuration space", null, PCIEXBAR_WINDOW_BYTES, {
    read: (offset, size) => ecam().read(offset, size),
    write: (offset, size, value) => ecam().write(offset, size, value),
  });
  return createHostBridge((start) => region.move(start));
}

/** What the machine's end is to close: flash and the files that the guest may still read. */
export interface AttachedFirmware {
  close(): void;
}

/** Throws ThimbleError("bad_config") naming the field whose file cannot be used. */
export function attachFirmware(parts: FirmwareParts): AttachedFirmware {
  const { boot, name, cpus, memory, pciWindow64, vm, pio, mmio, pci, hostBridge, onError } = parts;
  pci.add(LPC_SLOT, createLpcBridge());
  const fwCfg = new FwCfg(memory);
  addFirmwareFiles(fwCfg, {
    name,
    cpus,
    memory,
    pciWindow64,
    ecamStart: () => ecamStart(hostBridge),
    bootOrder: boot.order ?? [],
  });
  pio.register("firmware configuration", Port.fwCfg, fwCfg);
  const files = addKernel(fwCfg, boot);
  const flash = attachFlash({ boot, vm, mmio, onError });
  return {
    close: () => {
      flash.close();
      for (const file of files) file.close();
    },
  };
}

/** The files stay open: the guest reads them when it likes. */
function addKernel(fwCfg: FwCfg, boot: FirmwareBoot): OpenBootFile[] {
  if (boot.kernel === undefined) return [];
  const { kernel: kernelPath, initrd: initrdPath, commandLine = "" } = boot;
  const kernel = forField("boot.kernel", () => openBootFile(kernelPath));
  const initrd = initrdPath === undefined ? null : forField("boot.initrd", () => openBootFile(initrdPath));
  forField("boot", () => addKernelItems(fwCfg, { kernel, initrd, commandLine }));
  return initrd === null ? [kernel] : [kernel, initrd];
}
