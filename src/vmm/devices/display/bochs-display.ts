/**
 * The Bochs display adapter without VGA (QEMU's bochs-display): a framebuffer in BAR 0 and a handful of registers in
 * BAR 2. docs/decisions/0010-graphics.md says why this one.
 *
 * The framebuffer is real memory, shown to the guest wherever it moves BAR 0, so drawing causes no exits. Registers
 * are only kept; what they mean is worked out when a viewer asks (`mode`), which is the one place where they are
 * checked. Pixels have 32 bits; other depths show no picture, as drivers of this adapter know.
 */
import { PciFunction } from "../../bus/pci/function.ts";
import type { DeviceState, RegisterBlock, Stateful } from "../../contract.ts";
import { StateReader } from "../../state.ts";
import {
  BAR2_BYTES,
  BOCHS_DEVICE,
  BOCHS_REVISION,
  BOCHS_VENDOR,
  BochsMmio,
  CLASS_DISPLAY_OTHER,
  DISPI_ID5,
  Dispi,
  DispiEnable,
  Endianness,
  EXTENSION_BYTES,
} from "./bits.ts";
import { buildEdid } from "./edid.ts";
import {
  PAGE_BITMAP_BYTES,
  PAGE_BYTES,
  type Screen,
  type ScreenMode,
  VIDEO_MEMORY_BYTES,
  type VideoMemory,
} from "./screen.ts";

const STATE_VERSION = 1;
const BITS_PER_PIXEL = 32;
const BYTES_PER_PIXEL = 4;
const PIXELS = VIDEO_MEMORY_BYTES / BYTES_PER_PIXEL;
/** The largest picture that is not absurd; its rows fit the memory. */
const SIDE_MAX = 4096;
const REGISTERS = Dispi.size / 2;
const Index = {
  id: Dispi.offset.id / 2,
  xRes: Dispi.offset.xRes / 2,
  yRes: Dispi.offset.yRes / 2,
  bitsPerPixel: Dispi.offset.bitsPerPixel / 2,
  enable: Dispi.offset.enable / 2,
  virtualWidth: Dispi.offset.virtualWidth / 2,
  virtualHeight: Dispi.offset.virtualHeight / 2,
  xOffset: Dispi.offset.xOffset / 2,
  yOffset: Dispi.offset.yOffset / 2,
  videoMemory64K: Dispi.offset.videoMemory64K / 2,
} as const;

export class BochsDisplay implements Screen, Stateful {
  readonly function: PciFunction;
  readonly pixels: Uint32Array<ArrayBuffer>;
  readonly #memory: VideoMemory;
  readonly #edid = buildEdid();
  readonly #dispi = new Uint16Array(REGISTERS);
  #bigEndian = false;
  #mode: ScreenMode | null = null;
  #modeStale = false;
  /** Pages written through `memory`: the host's log does not know of them. */
  readonly #written = new Uint8Array(PAGE_BITMAP_BYTES);
  #anyWritten = false;

  constructor(memory: VideoMemory) {
    this.#memory = memory;
    this.pixels = new Uint32Array(memory.bytes.buffer, memory.bytes.byteOffset, PIXELS);
    const fn = new PciFunction(
      "display",
      {
        vendorId: BOCHS_VENDOR,
        deviceId: BOCHS_DEVICE,
        revisionId: BOCHS_REVISION,
        classCode: CLASS_DISPLAY_OTHER,
        subsystemVendorId: 0x1af4,
        subsystemId: 0x1100,
      },
      null,
    );
    fn.addBar({
      index: 0,
      sizeBytes: VIDEO_MEMORY_BYTES,
      prefetchable: true,
      block: this.memory,
      onMoved: (address) => {
        memory.place(address);
        this.#writtenAnywhere();
      },
    });
    fn.addBar({ index: 2, sizeBytes: BAR2_BYTES, block: this.registers });
    this.function = fn;
  }

  /** BAR 2. */
  readonly registers: RegisterBlock = {
    read: (offset, size) => {
      let value = 0;
      for (let i = size - 1; i >= 0; i--) value = value * 0x100 + this.#readByte(offset + i);
      return value;
    },
    write: (offset, size, value) => {
      const { dispi, endianness } = BochsMmio.offset;
      if (offset === endianness && size === 4) {
        if (value !== Endianness.big && value !== Endianness.little) return;
        this.#bigEndian = value === Endianness.big;
        this.#modeStale = true;
        return;
      }
      for (let i = 0; i < size; i++) {
        const at = offset + i - dispi;
        if (at < 0 || at >= Dispi.size) continue;
        const shift = 8 * (at & 1);
        const old = this.#dispi[at >> 1] as number;
        this.#dispi[at >> 1] = (old & ~(0xff << shift)) | (((value >>> (8 * i)) & 0xff) << shift);
        this.#modeStale = true;
      }
    },
  };

  /** BAR 0 where the host cannot show the memory itself: a guest laid it over something else. */
  readonly memory: RegisterBlock = {
    read: (offset, size) => {
      const { bytes } = this.#memory;
      let value = 0;
      for (let i = size - 1; i >= 0; i--) value = value * 0x100 + (bytes[offset + i] as number);
      return value;
    },
    write: (offset, size, value) => {
      const { bytes } = this.#memory;
      for (let i = 0; i < size; i++) {
        const at = offset + i;
        bytes[at] = value >>> (8 * i);
        const page = at / PAGE_BYTES;
        this.#written[page >> 3] = (this.#written[page >> 3] as number) | (1 << (page & 7));
      }
      this.#anyWritten = true;
    },
  };

  /** Sets a picture as firmware does, for guests that find it by what their boot loader tells them. */
  setMode(width: number, height: number): void {
    this.#dispi[Index.xRes] = width;
    this.#dispi[Index.yRes] = height;
    this.#dispi[Index.bitsPerPixel] = BITS_PER_PIXEL;
    this.#dispi[Index.enable] = DispiEnable.enabled;
    this.#modeStale = true;
  }

  mode(): ScreenMode | null {
    if (this.#modeStale) {
      this.#modeStale = false;
      this.#mode = this.#workOutMode();
    }
    return this.#mode;
  }

  watch(watching: boolean): void {
    this.#memory.setLogging(watching);
  }

  takeDirty(pages: Uint8Array): void {
    pages.fill(0);
    this.#memory.takeDirty(pages);
    if (!this.#anyWritten) return;
    this.#anyWritten = false;
    for (let i = 0; i < PAGE_BITMAP_BYTES; i++) {
      pages[i] = (pages[i] as number) | (this.#written[i] as number);
    }
    this.#written.fill(0);
  }

  /** The registers. The memory keeps what is in it; configuration space is the PCI bus's. */
  reset(): void {
    this.#dispi.fill(0);
    this.#bigEndian = false;
    this.#modeStale = true;
  }

  /** Registers and configuration space. The framebuffer's content goes with the guest's memory. */
  save(): DeviceState {
    return {
      version: STATE_VERSION,
      dispi: [...new Uint8Array(this.#dispi.buffer)],
      bigEndian: this.#bigEndian,
      pci: this.function.save(),
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the display", state, STATE_VERSION);
    const dispi = from.bytes("dispi", Dispi.size);
    const bigEndian = from.flag("bigEndian");
    this.function.restore(from.nested("pci"));
    new Uint8Array(this.#dispi.buffer).fill(0).set(dispi);
    this.#bigEndian = bigEndian;
    this.#modeStale = true;
    this.#writtenAnywhere();
  }

  #readByte(offset: number): number {
    const { dispi, extensionSize, endianness } = BochsMmio.offset;
    const register = offset - dispi;
    if (register >= 0 && register < Dispi.size) {
      return (this.#readDispi(register >> 1) >> (8 * (register & 1))) & 0xff;
    }
    if (offset >= endianness && offset < endianness + 4) {
      return this.#bigEndian ? Endianness.big & 0xff : Endianness.little & 0xff;
    }
    if (offset === extensionSize) return EXTENSION_BYTES;
    return this.#edid[offset] ?? 0;
  }

  #readDispi(index: number): number {
    const capabilities = ((this.#dispi[Index.enable] as number) & DispiEnable.getCapabilities) !== 0;
    switch (index) {
      case Index.id:
        return DISPI_ID5;
      case Index.videoMemory64K:
        return VIDEO_MEMORY_BYTES / 0x1_0000;
      case Index.virtualHeight:
        return Math.min(0xffff, Math.floor(PIXELS / Math.max(1, this.#stride())));
      case Index.xRes:
      case Index.yRes:
        return capabilities ? SIDE_MAX : (this.#dispi[index] as number);
      case Index.bitsPerPixel:
        return capabilities ? BITS_PER_PIXEL : (this.#dispi[index] as number);
      default:
        return this.#dispi[index] as number;
    }
  }

  #stride(): number {
    return Math.max(this.#dispi[Index.xRes] as number, this.#dispi[Index.virtualWidth] as number);
  }

  #workOutMode(): ScreenMode | null {
    const at = (index: number) => this.#dispi[index] as number;
    const width = at(Index.xRes);
    const height = at(Index.yRes);
    const stride = this.#stride();
    const offset = at(Index.yOffset) * stride + at(Index.xOffset);
    const sensible = width > 0 && height > 0 && width <= SIDE_MAX && height <= SIDE_MAX;
    const shown = (at(Index.enable) & DispiEnable.enabled) !== 0 && at(Index.bitsPerPixel) === BITS_PER_PIXEL;
    if (!shown || !sensible || offset + (height - 1) * stride + width > PIXELS) return null;
    return { width, height, offset, stride, bigEndian: this.#bigEndian };
  }

  /** What was written in between is not known: all may have been. */
  #writtenAnywhere(): void {
    this.#written.fill(0xff);
    this.#anyWritten = true;
  }
}
