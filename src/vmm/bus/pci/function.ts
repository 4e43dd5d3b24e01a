/**
 * A PCI function with a type 0 header.
 *
 * Configuration space is 256 bytes and a mask that says which bits the guest may write; that alone gives identity,
 * BAR sizing and most capabilities. After a write the function looks whether something with an effect was touched:
 * the command register and the BARs (where memory decodes), or a capability with a handler.
 */
import { type GuestPhysical, guestPhysical } from "../../../base/addresses.ts";
import { ThimbleError } from "../../../base/errors.ts";
import type { DeviceState, InterruptLine, RegisterBlock, Stateful } from "../../contract.ts";
import { StateReader } from "../../state.ts";
import {
  BAR_COUNT,
  BAR_SIZE_MIN,
  BarFlag,
  CONFIG_SIZE,
  Command,
  HEADER_MULTI_FUNCTION,
  HeaderType0,
  Status,
} from "./bits.ts";

/** How a function introduces itself. */
export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revisionId: number;
  /** Base class, subclass and programming interface: 0xBBSSPP. */
  readonly classCode: number;
  readonly subsystemVendorId: number;
  readonly subsystemId: number;
}

export interface BarOptions {
  /** 0 to 5; a 64-bit BAR takes the next one too. */
  readonly index: number;
  /** A power of two, at least 16, at most 2 GiB. */
  readonly sizeBytes: number;
  readonly is64Bit?: boolean;
  readonly prefetchable?: boolean;
  readonly block: RegisterBlock;
  /** Told where the BAR decodes from now on; null when it does not. */
  readonly onMoved?: (address: GuestPhysical | null) => void;
}

/** A capability beyond its two-byte header. Offsets given to the handlers are relative to the capability's start. */
export interface CapabilityOptions {
  readonly id: number;
  /** What follows the id and the next pointer. */
  readonly body: Uint8Array;
  /** Bits of `body` that the guest may write; absent: none. */
  readonly writeMask?: Uint8Array;
  /** Before a read that touches the capability: time to refresh its bytes in `config`. */
  readonly onRead?: (offset: number, size: number) => void;
  /** After a write that touches the capability. */
  readonly onWrite?: (offset: number, size: number) => void;
}

/** Registers of a function's own, outside its capabilities. Offsets given to the handler are relative to `start`. */
export interface PrivateRegisters {
  readonly start: number;
  /** What they hold after power-on. */
  readonly body: Uint8Array;
  /** Bits the guest may write; absent: none. */
  readonly writeMask?: Uint8Array;
  /** After a write that touches them, and when saved ones have been restored. */
  readonly onWrite?: () => void;
}

/** Where the machine puts a BAR's registers; the MMIO bus is one. */
export interface MmioPlacer {
  register(
    name: string,
    start: number | null,
    sizeBytes: number,
    block: RegisterBlock,
  ): { move(start: GuestPhysical | null): void };
}

interface Bar extends BarOptions {
  /** Where it decodes now. */
  address: GuestPhysical | null;
  region: { move(start: GuestPhysical | null): void } | null;
}

interface Capability extends CapabilityOptions {
  readonly start: number;
  readonly end: number;
}

const CAPABILITIES_START = HeaderType0.size;
/** Guest-physical addresses have at most 52 bits. */
const ADDRESS_LIMIT = 2 ** 52;
const STATE_VERSION = 1;

export class PciFunction implements Stateful {
  readonly config = new Uint8Array(CONFIG_SIZE);
  readonly #writeMask = new Uint8Array(CONFIG_SIZE);
  readonly #bars: Bar[] = [];
  readonly #capabilities: Capability[] = [];
  readonly #private: { readonly start: number; readonly end: number; readonly onWrite: () => void }[] = [];
  readonly #line: InterruptLine | null;
  #powerOn: Uint8Array | null = null;
  #capabilitiesEnd = CAPABILITIES_START;
  #lastPointerAt: number = HeaderType0.offset.capabilitiesPointer;
  #interrupt = false;

  /** `name` is for logs. `line` is where INTA goes; with null the function has no interrupt pin. */
  constructor(
    readonly name: string,
    identity: PciIdentity,
    line: InterruptLine | null,
  ) {
    this.#line = line;
    HeaderType0.patch(this.config, 0, {
      vendorId: identity.vendorId,
      deviceId: identity.deviceId,
      revisionId: identity.revisionId,
      programmingInterface: identity.classCode & 0xff,
      subclass: (identity.classCode >> 8) & 0xff,
      baseClass: identity.classCode >> 16,
      subsystemVendorId: identity.subsystemVendorId,
      subsystemId: identity.subsystemId,
      interruptPin: line === null ? 0 : 1,
    });
    HeaderType0.patch(this.#writeMask, 0, {
      command:
        Command.memory |
        Command.busMaster |
        Command.parityError |
        Command.serrEnable |
        Command.interruptDisable,
      cacheLineSize: 0xff,
      interruptLine: 0xff,
    });
  }

  /** Says in the header that the slot has other functions beside this one, its first. */
  showFurtherFunctions(): void {
    HeaderType0.patch(this.config, 0, { headerType: HEADER_MULTI_FUNCTION });
    HeaderType0.patch(this.#powerOn ?? this.config, 0, { headerType: HEADER_MULTI_FUNCTION });
  }

  /** Declares a BAR. To be called before the function is put on a bus. */
  addBar(options: BarOptions): void {
    const { index, sizeBytes } = options;
    const last = options.is64Bit ? index + 1 : index;
    const powerOfTwo =
      sizeBytes >= BAR_SIZE_MIN && sizeBytes <= 2 ** 31 && Number.isInteger(Math.log2(sizeBytes));
    if (!powerOfTwo || index < 0 || last >= BAR_COUNT) {
      throw new ThimbleError("bad_bar", `${this.name}: BAR ${index} of ${sizeBytes} bytes is not possible`);
    }
    const at = barOffset(index);
    const flags =
      (options.is64Bit ? BarFlag.memory64 : 0) | (options.prefetchable ? BarFlag.prefetchable : 0);
    putU32(this.config, at, flags);
    putU32(this.#writeMask, at, (0x1_0000_0000 - sizeBytes) >>> 0);
    if (options.is64Bit) putU32(this.#writeMask, at + 4, 0xffff_ffff);
    this.#bars.push({ ...options, address: null, region: null });
  }

  /** Appends a capability to the list and returns its offset in configuration space. */
  addCapability(options: CapabilityOptions): number {
    const start = Math.ceil(this.#capabilitiesEnd / 4) * 4;
    const end = start + 2 + options.body.length;
    if (end > CONFIG_SIZE)
      throw new ThimbleError("config_full", `${this.name}: no room for another capability`);
    this.config[start] = options.id;
    this.config.set(options.body, start + 2);
    if (options.writeMask) this.#writeMask.set(options.writeMask, start + 2);
    this.config[this.#lastPointerAt] = start;
    this.#lastPointerAt = start + 1;
    this.#capabilitiesEnd = end;
    HeaderType0.patch(this.config, 0, { status: Status.capabilitiesList });
    this.#capabilities.push({ ...options, start, end });
    return start;
  }

  /** Declares registers of the function's own. To be called before the function is put on a bus. */
  addPrivateRegisters(options: PrivateRegisters): void {
    const { start, body, writeMask, onWrite } = options;
    this.config.set(body, start);
    if (writeMask) this.#writeMask.set(writeMask, start);
    if (onWrite) this.#private.push({ start, end: start + body.length, onWrite });
  }

  /**
   * Called by the bus: registers the BARs' blocks with the machine, gives each an address (as firmware would have
   * done) and enables memory decoding. `allocate` returns an address aligned to the size.
   */
  connect(mmio: MmioPlacer, allocate: (sizeBytes: number) => number): void {
    for (const bar of [...this.#bars].sort((a, b) => b.sizeBytes - a.sizeBytes)) {
      bar.region = mmio.register(`${this.name} BAR ${bar.index}`, null, bar.sizeBytes, bar.block);
      const at = barOffset(bar.index);
      const address = allocate(bar.sizeBytes);
      putU32(this.config, at, (address | ((this.config[at] as number) & 0xf)) >>> 0);
      if (bar.is64Bit) putU32(this.config, at + 4, Math.floor(address / 2 ** 32));
    }
    if (this.#bars.length > 0) HeaderType0.patch(this.config, 0, { command: Command.memory });
    this.#powerOn = this.config.slice();
    this.#decode();
  }

  /** Reads 1, 2 or 4 bytes; beyond the 256 bytes there is nothing. */
  readConfig(offset: number, size: number): number {
    const end = offset + size;
    if (end > CONFIG_SIZE) return allOnes(size);
    for (const capability of this.#capabilities) {
      if (capability.onRead && offset < capability.end && end > capability.start) {
        capability.onRead(offset - capability.start, size);
      }
    }
    let value = 0;
    for (let i = end - 1; i >= offset; i--) value = value * 0x100 + (this.config[i] as number);
    return value;
  }

  /** Writes 1, 2 or 4 bytes as far as they are writable. */
  writeConfig(offset: number, size: number, value: number): void {
    const end = offset + size;
    if (end > CONFIG_SIZE) return;
    const config = this.config;
    const mask = this.#writeMask;
    for (let i = 0; i < size; i++) {
      const writable = mask[offset + i] as number;
      const byte = (value >>> (8 * i)) & 0xff;
      config[offset + i] = ((config[offset + i] as number) & ~writable) | (byte & writable);
    }
    const header = HeaderType0.offset;
    if (offset < header.status && end > header.command) {
      this.#decode();
      this.#driveLine();
    } else if (offset < header.cardbusCisPointer && end > header.bar0) {
      this.#decode();
    }
    for (const capability of this.#capabilities) {
      if (capability.onWrite && offset < capability.end && end > capability.start) {
        capability.onWrite(offset - capability.start, size);
      }
    }
    for (const registers of this.#private) {
      if (offset < registers.end && end > registers.start) registers.onWrite();
    }
  }

  /** Where a BAR decodes now; null when it does not. */
  barAddress(index: number): GuestPhysical | null {
    return this.#bars.find((bar) => bar.index === index)?.address ?? null;
  }

  /** Asserts or releases INTA, as far as the command register lets it through. */
  setInterrupt(asserted: boolean): void {
    if (asserted === this.#interrupt) return;
    this.#interrupt = asserted;
    const at = HeaderType0.offset.status;
    this.config[at] = ((this.config[at] as number) & ~Status.interrupt) | (asserted ? Status.interrupt : 0);
    this.#driveLine();
  }

  reset(): void {
    if (this.#powerOn) this.config.set(this.#powerOn);
    this.#interrupt = false;
    this.#takeEffect();
  }

  save(): DeviceState {
    return { version: STATE_VERSION, config: [...this.config] };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(`the configuration space of ${this.name}`, state, STATE_VERSION);
    const saved = from.exactBytes("config", CONFIG_SIZE);
    if (this.#powerOn) this.config.set(this.#powerOn);
    // What no guest can change is this function's own, whatever was saved.
    for (let i = 0; i < CONFIG_SIZE; i++) {
      const writable = this.#writeMask[i] as number;
      this.config[i] = ((this.config[i] as number) & ~writable) | ((saved[i] as number) & writable);
    }
    const status = HeaderType0.offset.status;
    this.#interrupt = ((saved[status] as number) & Status.interrupt) !== 0;
    if (this.#interrupt) this.config[status] = (this.config[status] as number) | Status.interrupt;
    this.#takeEffect();
  }

  /** After configuration space has changed as a whole. */
  #takeEffect(): void {
    this.#decode();
    this.#driveLine();
    for (const registers of this.#private) registers.onWrite();
  }

  #command(): number {
    const at = HeaderType0.offset.command;
    return (this.config[at] as number) | ((this.config[at + 1] as number) << 8);
  }

  #driveLine(): void {
    this.#line?.set(this.#interrupt && (this.#command() & Command.interruptDisable) === 0);
  }

  /** Puts every BAR where configuration space now says. */
  #decode(): void {
    const enabled = (this.#command() & Command.memory) !== 0;
    for (const bar of this.#bars) {
      let address: GuestPhysical | null = null;
      if (enabled) {
        const at = barOffset(bar.index);
        let value = (getU32(this.config, at) & 0xffff_fff0) >>> 0;
        if (bar.is64Bit) value += getU32(this.config, at + 4) * 2 ** 32;
        // Zero is what an unassigned BAR holds; the machine's RAM is there.
        if (value !== 0 && value + bar.sizeBytes <= ADDRESS_LIMIT) address = guestPhysical(value);
      }
      if (address === bar.address) continue;
      bar.address = address;
      bar.region?.move(address);
      bar.onMoved?.(address);
    }
  }
}

function barOffset(index: number): number {
  return HeaderType0.offset.bar0 + 4 * index;
}

/** What a read of `size` bytes gives where nobody answers. */
export function allOnes(size: number): number {
  return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
}

function getU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (8 * i);
}
