/** What an exit costs in TypeScript: from the kvm_run page through the bus to a device and back. */
import { MiB } from "../../src/base/addresses.ts";
import { PioBus } from "../../src/vmm/bus/pio.ts";
import { createExitHandler, type MachineControl } from "../../src/vmm/cpu/exits.ts";
import { ResetControl } from "../../src/vmm/devices/reset/reset-control.ts";
import { Uart16550 } from "../../src/vmm/devices/serial/uart16550.ts";
import { EXIT_IO_OUT, Exit, Run } from "../../src/vmm/kvm/bits.ts";
import { Port } from "../../src/vmm/platform.ts";
import { VirtioRng } from "../../src/vmm/virtio/rng/device.ts";
import { TestDriver } from "../../src/vmm/virtio/testing/driver.ts";
import { TestMachine } from "../../src/vmm/virtio/testing/machine.ts";
import { nsPerUnit, report } from "./measure.ts";

/** Exits in one call of the measured work. */
const EXITS = 256;
const RUN_BYTES = 8192;
const IO_DATA_OFFSET = 4096;
/** COM1's scratch register: a read or write that changes nothing else. */
const SCRATCH_PORT = Port.com1.start + 7;
const EXIT_IO_IN = 0;

function unexpected(message: string): never {
  throw new Error(message);
}

const machine: MachineControl = {
  ending: false,
  halted: false,
  reset: unexpected,
  powerOff: () => unexpected("power-off"),
  fail: unexpected,
  vcpuLeft: () => unexpected("a vCPU left"),
  park: () => unexpected("a vCPU parks"),
};

/** Two ports beside the serial one, so that the table has more than one entry; a virtio device with its BAR placed. */
function prepare() {
  const devices = new TestMachine(4 * MiB);
  const pio = new PioBus();
  const uart = new Uart16550({
    interrupt: { set: () => {} },
    backend: { write: () => {}, onInput: () => {}, resume: () => {} },
    clock: { monotonicMs: () => 0, wallMs: () => 0, after: () => () => {} },
  });
  pio.register("PCI address", Port.pciConfigAddress, devices.pci.configAddress);
  pio.register("PCI data", Port.pciConfigData, devices.pci.configData);
  pio.register("reset control", Port.resetControl, new ResetControl({ onReset: () => unexpected("reset") }));
  pio.register("COM1", Port.com1, uart);
  const transport = devices.attach(new VirtioRng({ name: "rng", memory: devices.memory, source: () => {} }));
  const registers = new TestDriver(devices, transport).common;
  const run = new ArrayBuffer(RUN_BYTES);
  const { handle } = createExitHandler(run, pio, devices.mmio, machine, () => "");
  return { registers, run, handle };
}

/** What KVM writes before it returns, then the handler; KVM's part is a few stores here. */
function portExits(direction: number): number {
  const { run, handle } = prepare();
  const bytes = new Uint8Array(run);
  const words = new Uint16Array(run);
  const dwords = new Uint32Array(run);
  dwords[Run.exitReason >> 2] = Exit.io;
  bytes[Run.ioDirection] = direction;
  bytes[Run.ioSize] = 1;
  words[Run.ioPort >> 1] = SCRATCH_PORT;
  dwords[Run.ioCount >> 2] = 1;
  dwords[Run.ioDataOffset >> 2] = IO_DATA_OFFSET;
  bytes[IO_DATA_OFFSET] = 0x5a;
  return nsPerUnit(EXITS, () => {
    for (let i = 0; i < EXITS; i++) handle(0);
  });
}

function mmioExits(write: boolean): number {
  const { registers, run, handle } = prepare();
  const bytes = new Uint8Array(run);
  const dwords = new Uint32Array(run);
  dwords[Run.exitReason >> 2] = Exit.mmio;
  dwords[Run.mmioAddressLow >> 2] = registers;
  dwords[Run.mmioAddressHigh >> 2] = Math.floor(registers / 2 ** 32);
  dwords[Run.mmioLength >> 2] = 4;
  bytes[Run.mmioIsWrite] = write ? 1 : 0;
  return nsPerUnit(EXITS, () => {
    for (let i = 0; i < EXITS; i++) handle(0);
  });
}

/** One port, one register of a virtio device's common configuration, each read and written. */
export function measureExits(): void {
  const loop = nsPerUnit(EXITS, () => {
    for (let i = 0; i < EXITS; i++) idle(0);
  });
  report("exit-pio-read", portExits(EXIT_IO_IN) - loop);
  report("exit-pio-write", portExits(EXIT_IO_OUT) - loop);
  report("exit-mmio-read", mmioExits(false) - loop);
  report("exit-mmio-write", mmioExits(true) - loop);
}

/** What the loop around the handler costs: a call with one argument. */
function idle(result: number): number {
  return result;
}
