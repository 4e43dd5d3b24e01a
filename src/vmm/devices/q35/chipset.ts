/**
 * As much of Intel's Q35 as OVMF needs to take a machine for one: a host bridge whose PCIEXBAR says where PCI Express
 * configuration space is, and an LPC bridge (ICH9) behind which it looks for the serial port and the ACPI registers.
 * docs/decisions/0009-chipset.md says why so little.
 *
 * The ACPI block does not move: PMBASE reads as its place, decoding enabled, as if earlier firmware had set it up.
 */
import { type GuestPhysical, guestPhysical } from "../../../base/addresses.ts";
import { Command, HeaderType0 } from "../../bus/pci/bits.ts";
import { PciFunction, type PciIdentity } from "../../bus/pci/function.ts";
import { Port } from "../../platform.ts";
import {
  ACPI_ENABLE,
  LPC_REGISTERS_START,
  LpcRegisters,
  MCH_REGISTERS_START,
  MchRegisters,
  Pciexbar,
  PIRQ_MASK,
  PMBASE_IO_SPACE,
  RCBA_MASK,
} from "./bits.ts";

export const LPC_SLOT = 0x1f;

const INTEL = 0x8086;
const SUBSYSTEM = { subsystemVendorId: 0x1af4, subsystemId: 0x1100 } as const;
const HOST_BRIDGE: PciIdentity = {
  ...SUBSYSTEM,
  vendorId: INTEL,
  deviceId: 0x29c0,
  revisionId: 0,
  classCode: 0x06_00_00,
};
const LPC_BRIDGE: PciIdentity = {
  ...SUBSYSTEM,
  vendorId: INTEL,
  deviceId: 0x2918,
  revisionId: 2,
  classCode: 0x06_01_00,
};

/** The host bridge. `onEcam` is told where configuration space is from now on; null when nowhere. */
export function createHostBridge(onEcam: (start: GuestPhysical | null) => void): PciFunction {
  const host = new PciFunction("Q35 host bridge", HOST_BRIDGE, null);
  host.addPrivateRegisters({
    start: MCH_REGISTERS_START,
    body: MchRegisters.encode({}),
    writeMask: MchRegisters.encode({
      pciexbar: Pciexbar.baseMaskHigh * 2 ** 32 + Pciexbar.baseMaskLow + Pciexbar.enable,
    }),
    onWrite: () => onEcam(ecamStart(host)),
  });
  return host;
}

/** Where PCIEXBAR puts configuration space; null when it is not enabled. */
export function ecamStart(host: PciFunction): GuestPhysical | null {
  const { pciexbar } = MchRegisters.decode(host.config, MCH_REGISTERS_START);
  const start = pciexbar - Pciexbar.enable;
  // At address 0 is RAM: what a guest enables before it has set the base.
  return pciexbar % 2 === Pciexbar.enable && start !== 0 ? guestPhysical(start) : null;
}

/** OVMF looks for ISA devices only behind a bridge that decodes I/O and memory; the real one cannot be stopped either. */
export function createLpcBridge(): PciFunction {
  const lpc = new PciFunction("LPC bridge", LPC_BRIDGE, null);
  const fixed = Command.io | Command.memory | Command.busMaster;
  lpc.addPrivateRegisters({
    start: HeaderType0.offset.command,
    body: Uint8Array.of(fixed, 0),
    writeMask: new Uint8Array(2),
  });
  lpc.addPrivateRegisters({
    start: LPC_REGISTERS_START,
    body: LpcRegisters.encode({
      pmbase: Port.acpiPm.start + PMBASE_IO_SPACE,
      acpiControl: ACPI_ENABLE,
      // Power-on values: not routed.
      pirqRoutingA: 0x8080_8080,
      pirqRoutingE: 0x8080_8080,
    }),
    writeMask: LpcRegisters.encode({ pirqRoutingA: PIRQ_MASK, pirqRoutingE: PIRQ_MASK, rcba: RCBA_MASK }),
  });
  return lpc;
}
