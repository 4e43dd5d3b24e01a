/**
 * What a machine with guest firmware has beside the others: flash, the firmware configuration device, and the bridges
 * of a Q35. The boot CPU starts where KVM puts it after power-on: at the reset vector, in the flash's last bytes.
 */
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
import { attachFlash, type FlashBanks } from "./flash-banks.ts";

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

/** Throws ThimbleError("bad_config") naming the field whose file cannot be used. */
export function attachFirmware(parts: FirmwareParts): FlashBanks {
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
  return attachFlash({ boot, vm, mmio, onError });
}
