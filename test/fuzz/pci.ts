/** The PCI bus with the chipset's functions, and the display. */
import assert from "node:assert/strict";
import { MmioBus } from "../../src/vmm/bus/mmio.ts";
import { ECAM_FUNCTION_SIZE } from "../../src/vmm/bus/pci/bits.ts";
import { PciBus } from "../../src/vmm/bus/pci/bus.ts";
import type { PciFunction } from "../../src/vmm/bus/pci/function.ts";
import { BAR2_BYTES, BochsMmio, Dispi } from "../../src/vmm/devices/display/bits.ts";
import { BochsDisplay } from "../../src/vmm/devices/display/bochs-display.ts";
import { VIDEO_MEMORY_BYTES } from "../../src/vmm/devices/display/screen.ts";
import { MCH_REGISTERS_START } from "../../src/vmm/devices/q35/bits.ts";
import { createHostBridge, createLpcBridge, LPC_SLOT } from "../../src/vmm/devices/q35/chipset.ts";
import { StateReader } from "../../src/vmm/state.ts";
import { mmioSpace } from "./spaces.ts";
import type { Space, SubjectKind } from "./subject.ts";

const WINDOW = { start: 0xc000_0000, size: 2 ** 29 };
const DISPLAY_SLOT = 27;

/** A function's configuration space, in ECAM. */
function configSpace(bus: PciBus, slot: number): Space {
  const base = slot * 8 * ECAM_FUNCTION_SIZE;
  return {
    name: `configuration space of slot ${slot}`,
    sizeBytes: 512,
    read: (offset, size) => bus.ecam.read(base + offset, size),
    write: (offset, size, value) => bus.ecam.write(base + offset, size, value),
  };
}

export const pci: SubjectKind = {
  covers: ["bus/pci/bus.ts", "bus/pci/function.ts", "devices/q35/chipset.ts"],
  actionShare: 30,
  mustReach: ["the window moves", "a register is found"],
  build(world) {
    const hostBridge = createHostBridge((start) => {
      if (start !== null) world.count("the window moves");
      assert.ok(start === null || (start % 2 ** 28 === 0 && start < 2 ** 36), `ECAM at ${start}`);
    });
    const lpc = createLpcBridge();
    const bus = new PciBus({ window: WINDOW, mmio: new MmioBus(), hostBridge });
    bus.add(LPC_SLOT, lpc);
    const functions = [hostBridge, lpc] satisfies PciFunction[];
    return {
      spaces: [configSpace(bus, 0), configSpace(bus, LPC_SLOT)],
      actions: {
        mechanism1: (random) => {
          const slot = random.pick([0, LPC_SLOT, random.below(32)]);
          const address = 0x8000_0000 + slot * 0x800 + random.below(256);
          bus.configAddress.write(
            0,
            random.pick([4, 4, 4, 1, 2]),
            random.below(30) === 0 ? random.u32() : address,
          );
          const [offset, size] = [random.below(4), random.pick([1, 2, 4])];
          if (random.below(2) === 0) {
            if (bus.configData.read(offset, size) !== 2 ** (8 * size) - 1) world.count("a register is found");
          } else bus.configData.write(offset, size, random.u32() >>> (32 - 8 * size));
        },
        // As firmware places the window of configuration space.
        window: (random) =>
          hostBridge.writeConfig(MCH_REGISTERS_START, 4, ((random.below(16) << 28) | random.below(8)) >>> 0),
      },
      reset: () => bus.reset(),
      save: () => ({
        version: 1,
        bus: bus.save(),
        ...Object.fromEntries(functions.map((fn, i) => [`function${i}`, fn.save()])),
      }),
      restore: (saved) => {
        const from = new StateReader("the PCI bus and its functions", saved, 1);
        bus.restore(from.nested("bus"));
        functions.forEach((fn, i) => {
          fn.restore(from.nested(`function${i}`));
        });
      },
    };
  },
};

const MODE_REGISTERS = [
  "xRes",
  "yRes",
  "bitsPerPixel",
  "virtualWidth",
  "xOffset",
  "yOffset",
  "enable",
] as const;

/** One for all lives: 16 MiB are slow to make, and what is in it matters to nobody. */
const videoMemory = new Uint8Array(VIDEO_MEMORY_BYTES);

export const display: SubjectKind = {
  covers: ["devices/display/bochs-display.ts"],
  actionShare: 20,
  mustReach: ["a mode is set", "memory is placed"],
  build(world) {
    const device = new BochsDisplay({
      bytes: videoMemory,
      place: (address) => {
        if (address !== null) world.count("memory is placed");
        // The host takes no place where something else is.
        return address === null || address >= WINDOW.start;
      },
      setLogging: () => {},
      takeDirty: () => {},
    });
    const mmio = new MmioBus();
    const bus = new PciBus({ window: WINDOW, mmio });
    bus.add(DISPLAY_SLOT, device.function);
    const look = () => {
      const mode = device.mode();
      if (mode === null) return;
      world.count("a mode is set");
      const { width, height, offset, stride } = mode;
      const end = offset + (height - 1) * stride + width;
      assert.ok(width <= stride && end <= device.pixels.length, JSON.stringify(mode));
    };
    return {
      spaces: [
        mmioSpace("registers", BAR2_BYTES, device.registers),
        configSpace(bus, DISPLAY_SLOT),
        mmioSpace("video memory", VIDEO_MEMORY_BYTES, device.memory),
      ],
      actions: {
        mode: (random) => {
          const values = [0, 1, 32, 640, 800, 1024, 8192, random.below(65536)];
          for (const register of MODE_REGISTERS) {
            if (random.below(3) === 0) continue;
            const value = register === "enable" ? random.below(256) : random.pick(values);
            device.registers.write(BochsMmio.offset.dispi + Dispi.offset[register], 2, value);
          }
          look();
        },
        firmwareMode: (random) => {
          device.setMode(random.pick([640, 1280]), random.pick([480, 800]));
          look();
        },
        watch: (random) => device.watch(random.below(2) === 0),
      },
      reset: () => device.reset(),
      save: () => device.save(),
      restore: (saved) => device.restore(saved),
    };
  },
};
