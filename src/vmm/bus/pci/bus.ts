/**
 * PCI bus 0 of segment 0: functions by slot, reached through ECAM and through configuration mechanism 1.
 *
 * The bus acts as firmware once: when a function is added, its BARs get addresses in the machine's 32-bit window. A
 * guest may move them afterwards.
 */
import { ThimbleError } from "../../../base/errors.ts";
import type { DeviceState, RegisterBlock, Stateful } from "../../contract.ts";
import { StateReader } from "../../state.ts";
import { CONFIG_ADDRESS_ENABLE, CONFIG_SIZE, ECAM_FUNCTION_SIZE } from "./bits.ts";
import { allOnes, type MmioPlacer, PciFunction, type PciIdentity } from "./function.ts";

export const PCI_SLOTS = 32;
/** What ECAM gives each slot room for. */
const FUNCTIONS_PER_SLOT = 8;
const STATE_VERSION = 1;

/**
 * The ids of the generic PCI Express host bridge, which guests know as one without quirks.
 */
export const HOST_BRIDGE: PciIdentity = {
  vendorId: 0x1b36,
  deviceId: 0x0008,
  revisionId: 0,
  classCode: 0x06_00_00,
  subsystemVendorId: 0x1af4,
  subsystemId: 0x1100,
};

export interface PciBusOptions {
  /** Where 32-bit BARs are put at first. */
  readonly window: { readonly start: number; readonly size: number };
  readonly mmio: MmioPlacer;
  /** What is in slot 0; absent: the generic host bridge. */
  readonly hostBridge?: PciFunction;
}

export class PciBus implements Stateful {
  /** By slot and number in it. Slot 0 is the host bridge. */
  readonly #functions: (PciFunction | null)[] = new Array(PCI_SLOTS * FUNCTIONS_PER_SLOT).fill(null);
  readonly #options: PciBusOptions;
  #nextAddress: number;
  #configAddress = 0;

  constructor(options: PciBusOptions) {
    this.#options = options;
    this.#nextAddress = options.window.start;
    this.add(0, options.hostBridge ?? new PciFunction("PCI host bridge", HOST_BRIDGE, null));
  }

  /**
   * Puts a function into a slot; one that is not the slot's first (`number` 1 to 7) comes after that. Throws when the
   * place is taken or the window is full.
   */
  add(slot: number, fn: PciFunction, number = 0): void {
    const first = this.#functions[slot * FUNCTIONS_PER_SLOT];
    if (this.#functions[slot * FUNCTIONS_PER_SLOT + number] !== null || (number > 0 && !first)) {
      throw new ThimbleError("pci_slot_taken", `${fn.name}: PCI slot ${slot}.${number} is not free`);
    }
    if (number > 0) first?.showFurtherFunctions();
    const { window, mmio } = this.#options;
    fn.connect(mmio, (sizeBytes) => {
      const address = Math.ceil(this.#nextAddress / sizeBytes) * sizeBytes;
      if (address + sizeBytes > window.start + window.size) {
        throw new ThimbleError(
          "pci_window_full",
          `${fn.name}: ${sizeBytes} bytes do not fit the PCI window any more`,
        );
      }
      this.#nextAddress = address + sizeBytes;
      return address;
    });
    this.#functions[slot * FUNCTIONS_PER_SLOT + number] = fn;
  }

  /** The ECAM range from bus 0 on (PCI Express 5.0, 7.2.2). */
  readonly ecam: RegisterBlock = {
    read: (offset, size) => {
      const fn = this.#functionAt(Math.floor(offset / ECAM_FUNCTION_SIZE));
      return fn === null ? allOnes(size) : fn.readConfig(offset % ECAM_FUNCTION_SIZE, size);
    },
    write: (offset, size, value) => {
      this.#functionAt(Math.floor(offset / ECAM_FUNCTION_SIZE))?.writeConfig(
        offset % ECAM_FUNCTION_SIZE,
        size,
        value,
      );
    },
  };

  /** CONFIG_ADDRESS at port 0xCF8, four ports; only dword accesses are the mechanism's. */
  readonly configAddress: RegisterBlock = {
    read: (offset, size) => (offset === 0 && size === 4 ? this.#configAddress : allOnes(size)),
    write: (offset, size, value) => {
      if (offset === 0 && size === 4) this.#configAddress = (value & 0x80ff_fffc) >>> 0;
    },
  };

  /** CONFIG_DATA at port 0xCFC, four ports. */
  readonly configData: RegisterBlock = {
    read: (offset, size) => {
      const fn = this.#selected();
      return fn === null
        ? allOnes(size)
        : fn.readConfig((this.#configAddress & (CONFIG_SIZE - 4)) + offset, size);
    },
    write: (offset, size, value) => {
      this.#selected()?.writeConfig((this.#configAddress & (CONFIG_SIZE - 4)) + offset, size, value);
    },
  };

  /** Resets the bus and every function's configuration space; devices behind them are reset by their owners. */
  reset(): void {
    this.#configAddress = 0;
    for (const fn of this.#functions) fn?.reset();
  }

  save(): DeviceState {
    return { version: STATE_VERSION, configAddress: this.#configAddress };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the PCI bus", state, STATE_VERSION);
    this.#configAddress = (from.u32("configAddress") & 0x80ff_fffc) >>> 0;
  }

  #selected(): PciFunction | null {
    const address = this.#configAddress;
    return address < CONFIG_ADDRESS_ENABLE ? null : this.#functionAt((address >>> 8) & 0xffff);
  }

  /** `routingId` is bus (8 bits), slot (5), function (3). */
  #functionAt(routingId: number): PciFunction | null {
    return this.#functions[routingId] ?? null;
  }
}
