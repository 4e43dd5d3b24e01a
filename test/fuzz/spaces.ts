/** Registers reached as a guest reaches them: over a bus, which splits what goes beyond their end. */
import { MmioBus } from "../../src/vmm/bus/mmio.ts";
import { PioBus } from "../../src/vmm/bus/pio.ts";
import type { RegisterBlock } from "../../src/vmm/contract.ts";
import type { Space } from "./subject.ts";

const PORT_START = 0x1000;
const MMIO_START = 0xd000_0000;

export function portSpace(name: string, sizeBytes: number, block: RegisterBlock): Space {
  const bus = new PioBus();
  bus.register(name, { start: PORT_START, size: sizeBytes }, block);
  return {
    name,
    sizeBytes,
    read: (offset, size) => bus.read(PORT_START + offset, size),
    write: (offset, size, value) => bus.write(PORT_START + offset, size, value),
  };
}

export function mmioSpace(name: string, sizeBytes: number, block: RegisterBlock): Space {
  const bus = new MmioBus();
  bus.register(name, MMIO_START, sizeBytes, block);
  return {
    name,
    sizeBytes,
    read: (offset, size) => bus.read(MMIO_START + offset, size),
    write: (offset, size, value) => bus.write(MMIO_START + offset, size, value),
  };
}
