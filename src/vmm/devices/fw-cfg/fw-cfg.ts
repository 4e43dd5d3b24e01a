/**
 * The firmware configuration device: how guest firmware learns of its machine.
 *
 * A guest selects an item by its 16-bit key and reads it byte by byte from the data port, or has it copied: it writes
 * the address of a request (big endian) to the DMA register, and the request is carried out before that write returns.
 * Beyond an item's end, and for keys of nobody, everything reads as zero. Files are items with a name, listed in the
 * item `fileDirectory`. Guests cannot write any item. Items can be large (a kernel): such a one is a source that is read
 * piece by piece, into guest memory where the guest uses DMA; a source that fails is a DMA error, and zeroes at the port.
 */
import { ThimbleError } from "../../../base/errors.ts";
import type { DeviceState, RegisterBlock, Stateful } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import {
  DMA_SELECTOR_SHIFT,
  DMA_SIGNATURE,
  DmaAccess,
  DmaControl,
  FILE_NAME_MAX,
  FileEntry,
  FwCfgKey,
  FwCfgOffset,
  INTERFACE_VERSION,
  SIGNATURE,
  WRITE_CHANNEL,
} from "./bits.ts";

/** An item that is not held in memory. */
export interface FwCfgSource {
  readonly sizeBytes: number;
  /** Fills `target` from `offset`, or throws. Is never asked for bytes beyond `sizeBytes`. */
  read(offset: number, target: Uint8Array): void;
}

/** An item's bytes, what makes them when a guest first selects the item, or where they are read from. */
export type FwCfgContent = Uint8Array | (() => Uint8Array) | FwCfgSource;

const STATE_VERSION = 1;
/** One request copies at most this much: more than firmware asks for, and little enough to hold up nobody. */
const DMA_LENGTH_MAX = 16 * 1024 * 1024;
const NOTHING = new Uint8Array(0);
/** What the port takes from a source at a time. */
const WINDOW_BYTES = 4096;
const COMMANDS = DmaControl.read | DmaControl.skip | DmaControl.write;

export class FwCfg implements RegisterBlock, Stateful {
  readonly #memory: GuestMemory;
  readonly #items = new Map<number, FwCfgContent>();
  readonly #files: { readonly name: string; readonly content: FwCfgContent; readonly size: number }[] = [];

  #key = 0;
  #offset = 0;
  /** The selected item's bytes: all of them or, of a source, those from #windowStart on that the port last read. */
  #current: Uint8Array = NOTHING;
  #source: FwCfgSource | null = null;
  #windowStart = 0;
  #size = 0;
  /** Upper half of the request's address, until the lower half is written. */
  #dmaHigh = 0;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.add(FwCfgKey.signature, asciiBytes(SIGNATURE));
    this.add(FwCfgKey.interfaceVersion, Uint8Array.of(INTERFACE_VERSION, 0, 0, 0));
    this.add(FwCfgKey.fileDirectory, () => this.#directory());
    this.#select(0);
  }

  /** Sets an item that is not a file. */
  add(key: number, content: FwCfgContent): void {
    this.#items.set(key, content);
  }

  /**
   * Adds a file. Content that is made later must come out with `size` bytes: the directory tells before.
   * Throws ThimbleError("bad_file_name").
   */
  addFile(name: string, content: Uint8Array): void;
  addFile(name: string, content: () => Uint8Array, size: number): void;
  addFile(name: string, content: Uint8Array | (() => Uint8Array), size = content.length): void {
    if (name.length > FILE_NAME_MAX) {
      throw new ThimbleError("bad_file_name", `fw_cfg: "${name}" is longer than ${FILE_NAME_MAX} characters`);
    }
    this.#items.set(FwCfgKey.firstFile + this.#files.length, content);
    this.#files.push({ name, content, size });
  }

  read(offset: number, size: number): number {
    if (offset >= FwCfgOffset.dmaHigh) {
      let value = 0;
      for (let i = 0; i < size; i++) {
        const at = offset - FwCfgOffset.dmaHigh + i;
        value += (DMA_SIGNATURE.charCodeAt(at) || 0) * 2 ** (8 * i);
      }
      return value;
    }
    // One byte of the item a read, however wide: the data port has eight bits.
    return offset <= FwCfgOffset.data ? this.#nextByte() : 0;
  }

  write(offset: number, size: number, value: number): void {
    if (offset === FwCfgOffset.selector && size === 2) this.#select(value);
    else if (offset === FwCfgOffset.dmaHigh && size === 4) this.#dmaHigh = swap32(value);
    else if (offset === FwCfgOffset.dmaLow && size === 4) {
      const address = this.#dmaHigh * 2 ** 32 + swap32(value);
      this.#dmaHigh = 0;
      this.#transfer(address);
    }
  }

  reset(): void {
    this.#dmaHigh = 0;
    this.#select(0);
  }

  save(): DeviceState {
    return { version: STATE_VERSION, key: this.#key, offset: this.#offset, dmaHigh: this.#dmaHigh };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the firmware configuration device", state, STATE_VERSION);
    const key = from.u16("key");
    const offset = from.integer("offset", 0, Number.MAX_SAFE_INTEGER);
    this.#dmaHigh = from.integer("dmaHigh", 0, 0xffff_ffff);
    this.#select(key);
    this.#offset = Math.min(offset, this.#size);
  }

  #select(key: number): void {
    this.#key = key & ~WRITE_CHANNEL & 0xffff;
    this.#offset = 0;
    this.#windowStart = 0;
    this.#source = null;
    const content = this.#items.get(this.#key);
    if (content !== undefined && "sizeBytes" in content) {
      this.#source = content;
      this.#current = NOTHING;
      this.#size = content.sizeBytes;
      return;
    }
    if (typeof content === "function") {
      this.#current = content();
      // The directory depends on files that may still come; what a file's maker made stays.
      if (this.#key >= FwCfgKey.firstFile) this.#items.set(this.#key, this.#current);
    } else {
      this.#current = content ?? NOTHING;
    }
    this.#size = this.#current.length;
  }

  #nextByte(): number {
    if (this.#offset >= this.#size) return 0;
    const at = this.#offset++;
    if (this.#source !== null) this.#moveWindow(this.#source, at);
    return this.#current[at - this.#windowStart] as number;
  }

  #moveWindow(source: FwCfgSource, at: number): void {
    const start = at - (at % WINDOW_BYTES);
    if (start === this.#windowStart && this.#current.length > 0) return;
    this.#current = new Uint8Array(Math.min(WINDOW_BYTES, source.sizeBytes - start));
    this.#windowStart = start;
    try {
      source.read(start, this.#current);
    } catch {
      this.#current.fill(0);
    }
  }

  /** Carries out the request at a guest-physical address; the answer is in its control field. */
  #transfer(at: number): void {
    const memory = this.#memory;
    if (!memory.contains(at, DmaAccess.size)) return;
    const { control, length, address } = DmaAccess.decode(memory.read(at, DmaAccess.size));
    if (control & DmaControl.select) this.#select(control >>> DMA_SELECTOR_SHIFT);
    let ok = true;
    if (control & COMMANDS) {
      ok = (control & DmaControl.write) === 0 && length <= DMA_LENGTH_MAX;
      if (ok && control & DmaControl.read) ok = this.#copyOut(address, length);
      else if (ok) this.#offset = Math.min(this.#offset + length, this.#size);
    }
    memory.write(at, DmaAccess.encode({ control: ok ? 0 : DmaControl.error }).subarray(0, 4));
  }

  #copyOut(address: number, length: number): boolean {
    const current = this.#current;
    const source = this.#source;
    const size = this.#size;
    const from = this.#offset;
    const copy = (bytes: Uint8Array, at: number) => {
      const start = from + at;
      const count = Math.min(bytes.length, Math.max(0, size - start));
      if (source === null) bytes.set(current.subarray(start, start + count));
      else if (count > 0) source.read(start, bytes.subarray(0, count));
      bytes.fill(0, count);
    };
    let done = false;
    try {
      done = this.#memory.split(address, length, copy);
    } catch {
      // The source failed.
    }
    if (done) this.#offset = Math.min(from + length, size);
    return done;
  }

  #directory(): Uint8Array {
    const count = FileEntry.offset.select; // the 32-bit number of entries stands before the first
    const out = new Uint8Array(count + this.#files.length * FileEntry.size);
    out[count - 1] = this.#files.length;
    this.#files.forEach(({ name, size }, i) => {
      FileEntry.patch(out, count + i * FileEntry.size, { size, select: FwCfgKey.firstFile + i, name });
    });
    return out;
  }
}

function asciiBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

function swap32(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | ((value >>> 24) & 0xff)) >>> 0;
}
