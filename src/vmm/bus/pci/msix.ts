/**
 * MSI-X of one function: the vector table and pending bits as registers, and a host route per vector.
 *
 * A route holds a message exactly while its vector may deliver: MSI-X enabled, neither function nor vector masked.
 * An interrupt for a masked vector sets its pending bit and is delivered when the mask goes away.
 */
import { ThimbleError } from "../../../base/errors.ts";
import type { DeviceState, MsiController, MsiRoute, RegisterBlock } from "../../contract.ts";
import { StateReader } from "../../state.ts";
import {
  CapabilityId,
  MSIX_ENTRY_MASKED,
  MSIX_VECTORS_MAX,
  MsixCapability,
  MsixControl,
  MsixEntry,
} from "./bits.ts";
import type { PciFunction } from "./function.ts";

/** Where table and pending bits lie in the function's BARs. */
export interface MsixPlacement {
  readonly bar: number;
  readonly tableOffset: number;
  readonly pbaOffset: number;
}

const STATE_VERSION = 1;
const ENTRY_DWORDS = MsixEntry.size / 4;
const DATA = MsixEntry.offset.data / 4;
const CONTROL = MsixEntry.offset.control / 4;
const CONTROL_BYTE = MsixCapability.offset.messageControl;

export class Msix {
  readonly vectors: number;
  /** Told when a vector may deliver again: a kernel backend's signals were lost while it was masked. */
  onUnmasked: ((vector: number) => void) | null = null;
  readonly #function: PciFunction;
  readonly #capability: number;
  readonly #routes: MsiRoute[] = [];
  readonly #table: Uint32Array<ArrayBuffer>;
  readonly #tableBytes: DataView;
  readonly #pending: Uint8Array<ArrayBuffer>;
  /** 1 for each vector whose route holds a message. */
  readonly #active: Uint8Array;

  /** Adds the capability to `fn`. The caller makes `table` and `pba` answer at the given places. */
  constructor(fn: PciFunction, vectors: number, controller: MsiController, placement: MsixPlacement) {
    if (vectors < 1 || vectors > MSIX_VECTORS_MAX) {
      throw new ThimbleError("bad_msix", `${fn.name}: ${vectors} MSI-X vectors are not possible`);
    }
    this.vectors = vectors;
    this.#function = fn;
    this.#table = new Uint32Array(vectors * ENTRY_DWORDS);
    this.#tableBytes = new DataView(this.#table.buffer);
    this.#pending = new Uint8Array(Math.ceil(vectors / 64) * 8);
    this.#active = new Uint8Array(vectors);
    for (let i = 0; i < vectors; i++) this.#routes.push(controller.create());
    const capability = MsixCapability.encode({
      messageControl: vectors - 1,
      table: placement.tableOffset | placement.bar,
      pba: placement.pbaOffset | placement.bar,
    });
    const writable = MsixCapability.encode({ messageControl: MsixControl.functionMask | MsixControl.enable });
    this.#capability = fn.addCapability({
      id: CapabilityId.msix,
      body: capability.subarray(2),
      writeMask: writable.subarray(2),
      onWrite: () => this.#refreshAll(),
    });
    this.#clear();
  }

  /** Whether the guest uses MSI-X (then INTx stays silent). */
  get enabled(): boolean {
    return (this.#control() & MsixControl.enable) !== 0;
  }

  /** Delivers an interrupt; a masked vector becomes pending. Vectors out of range deliver nothing. */
  notify(vector: number): void {
    if (vector >= this.vectors) return;
    if (this.#active[vector] === 1) (this.#routes[vector] as MsiRoute).trigger();
    else if (this.enabled) this.#setPending(vector, true);
  }

  /** The eventfd that delivers a vector from the kernel; -1 where there is none. */
  eventFd(vector: number): number {
    return this.#routes[vector]?.eventFd ?? -1;
  }

  readonly table: RegisterBlock = {
    read: (offset, size) => {
      const view = this.#tableBytes;
      if (offset + size > view.byteLength) return 0;
      return size === 4
        ? view.getUint32(offset, true)
        : size === 2
          ? view.getUint16(offset, true)
          : view.getUint8(offset);
    },
    write: (offset, size, value) => {
      const view = this.#tableBytes;
      if (offset + size > view.byteLength) return;
      if (size === 4) view.setUint32(offset, value, true);
      else if (size === 2) view.setUint16(offset, value, true);
      else view.setUint8(offset, value);
      const first = Math.floor(offset / MsixEntry.size);
      const last = Math.floor((offset + size - 1) / MsixEntry.size);
      // A message changed under an unmasked vector takes effect at once, although guests must not do so.
      for (let vector = first; vector <= last; vector++) this.#refresh(vector, true);
    },
  };

  readonly pba: RegisterBlock = {
    read: (offset, size) => {
      if (offset + size > this.#pending.length) return 0;
      let value = 0;
      for (let i = size - 1; i >= 0; i--) value = value * 0x100 + (this.#pending[offset + i] as number);
      return value;
    },
    write: () => {},
  };

  /** Back to power-on: every vector masked, nothing pending. The control word is configuration space's. */
  reset(): void {
    this.#clear();
    this.#refreshAll();
  }

  save(): DeviceState {
    return { version: STATE_VERSION, table: [...this.#table], pending: [...this.#pending] };
  }

  /** After the function's configuration space has been restored. */
  restore(state: DeviceState): void {
    const from = new StateReader(`MSI-X of ${this.#function.name}`, state, STATE_VERSION);
    const table = from.dwords("table", this.#table.length);
    const pending = from.dwords("pending", this.#pending.length);
    this.#table.set(table);
    this.#pending.set(pending);
    for (let vector = 0; vector < this.vectors; vector++) this.#refresh(vector, true);
  }

  #control(): number {
    const at = this.#capability + CONTROL_BYTE;
    return (this.#function.config[at] as number) | ((this.#function.config[at + 1] as number) << 8);
  }

  #clear(): void {
    this.#table.fill(0);
    this.#pending.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) {
      this.#table[vector * ENTRY_DWORDS + CONTROL] = MSIX_ENTRY_MASKED;
    }
  }

  #refreshAll(): void {
    for (let vector = 0; vector < this.vectors; vector++) this.#refresh(vector, false);
  }

  /** Brings a vector's route in line with table and control; `rewrite` also when its message may have changed. */
  #refresh(vector: number, rewrite: boolean): void {
    const at = vector * ENTRY_DWORDS;
    const table = this.#table;
    const control = this.#control();
    const active =
      (control & (MsixControl.enable | MsixControl.functionMask)) === MsixControl.enable &&
      ((table[at + CONTROL] as number) & MSIX_ENTRY_MASKED) === 0;
    const wasActive = this.#active[vector] === 1;
    const route = this.#routes[vector] as MsiRoute;
    if (!active) {
      if (wasActive) route.update(null);
      this.#active[vector] = 0;
      return;
    }
    if (wasActive && !rewrite) return;
    const address = (table[at] as number) + (table[at + 1] as number) * 2 ** 32;
    route.update({ address, data: table[at + DATA] as number });
    this.#active[vector] = 1;
    if (wasActive) return;
    if (this.#isPending(vector)) {
      this.#setPending(vector, false);
      route.trigger();
    }
    this.onUnmasked?.(vector);
  }

  #isPending(vector: number): boolean {
    return (((this.#pending[vector >> 3] as number) >> (vector & 7)) & 1) === 1;
  }

  #setPending(vector: number, pending: boolean): void {
    const bit = 1 << (vector & 7);
    const byte = this.#pending[vector >> 3] as number;
    this.#pending[vector >> 3] = pending ? byte | bit : byte & ~bit;
  }
}
