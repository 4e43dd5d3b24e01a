import assert from "node:assert/strict";
import { test } from "node:test";
import { MmioBus } from "../bus/mmio.ts";
import { PioBus } from "../bus/pio.ts";
import type { RegisterBlock } from "../contract.ts";
import { EXIT_IO_OUT, Exit, Run } from "../kvm/bits.ts";
import { createExitHandler, type MachineControl } from "./exits.ts";

const DATA_PAGE = 4096;

/** A vCPU without KVM: its kvm_run area, buses, and what became of the machine. */
function rig() {
  const run = new ArrayBuffer(3 * 4096);
  const view = new DataView(run);
  const pio = new PioBus();
  const mmio = new MmioBus();
  const told: string[] = [];
  let left = 0;
  let paused = false;
  const end = (how: string) => {
    told.push(how);
    machine.ending = true;
  };
  const machine: MachineControl & { ending: boolean } = {
    ending: false,
    get halted() {
      return machine.ending || paused;
    },
    park: () => {
      told.push("parked");
      paused = false;
    },
    reset: (cause) => end(`reset: ${cause}`),
    powerOff: () => end("power off"),
    fail: (message) => end(`fail: ${message}`),
    vcpuLeft: () => {
      left++;
    },
  };
  const pause = () => {
    paused = true;
  };
  const handler = createExitHandler(run, pio, mmio, machine, () => "rip 0");
  const exit = (reason: number): number => {
    view.setUint32(Run.exitReason, reason, true);
    return handler.handle(0);
  };
  const portExit = (out: boolean, port: number, size: number, count = 1): number => {
    view.setUint8(Run.ioDirection, out ? EXIT_IO_OUT : 0);
    view.setUint8(Run.ioSize, size);
    view.setUint16(Run.ioPort, port, true);
    view.setUint32(Run.ioCount, count, true);
    view.setBigUint64(Run.ioDataOffset, BigInt(DATA_PAGE), true);
    return exit(Exit.io);
  };
  const memoryExit = (write: boolean, address: number, length: number): number => {
    view.setBigUint64(Run.mmioAddressLow, BigInt(address), true);
    view.setUint32(Run.mmioLength, length, true);
    view.setUint8(Run.mmioIsWrite, write ? 1 : 0);
    return exit(Exit.mmio);
  };
  return { view, pio, mmio, told, machine, handler, pause, left: () => left, exit, portExit, memoryExit };
}

function recorder(value: number): RegisterBlock & { readonly seen: string[] } {
  const seen: string[] = [];
  return {
    seen,
    read: (offset, size) => {
      seen.push(`r${offset}.${size}`);
      return value + offset;
    },
    write: (offset, size, written) => {
      seen.push(`w${offset}.${size}=${written.toString(16)}`);
    },
  };
}

test("port writes of each width reach the device, port reads come back", () => {
  const { view, pio, portExit } = rig();
  const device = recorder(0x41);
  pio.register("d", { start: 0x500, size: 8 }, device);
  view.setUint32(DATA_PAGE, 0xdead_beef, true);
  assert.equal(portExit(true, 0x500, 1), 0);
  assert.equal(portExit(true, 0x502, 2), 0);
  assert.equal(portExit(true, 0x504, 4), 0);
  assert.deepEqual(device.seen, ["w0.1=ef", "w2.2=beef", "w4.4=deadbeef"]);
  portExit(false, 0x505, 1);
  assert.equal(view.getUint8(DATA_PAGE), 0x46);
  portExit(false, 0x999, 4);
  assert.equal(view.getUint32(DATA_PAGE, true), 0xffff_ffff);
});

test("a string instruction reaches the same port once per element", () => {
  const { view, pio, portExit } = rig();
  const device = recorder(0);
  pio.register("d", { start: 0x3f8, size: 8 }, device);
  for (let i = 0; i < 3; i++) view.setUint16(DATA_PAGE + 2 * i, 0x100 + i, true);
  portExit(true, 0x3f8, 2, 3);
  assert.deepEqual(device.seen, ["w0.2=100", "w0.2=101", "w0.2=102"]);
});

test("memory accesses of 1, 2, 4 and 8 bytes, and of odd lengths, reach the device", () => {
  const { view, mmio, memoryExit } = rig();
  const device = recorder(1);
  mmio.register("d", 2 ** 36, 0x100, device);
  view.setBigUint64(Run.mmioData, 0x8877_6655_4433_2211n, true);
  for (const length of [1, 2, 4, 8, 3]) memoryExit(true, 2 ** 36 + 0x10, length);
  assert.deepEqual(device.seen, [
    "w16.1=11",
    "w16.2=2211",
    "w16.4=44332211",
    "w16.4=44332211",
    "w20.4=88776655",
    "w16.1=11",
    "w17.1=22",
    "w18.1=33",
  ]);
  memoryExit(false, 2 ** 36 + 8, 8);
  assert.equal(view.getBigUint64(Run.mmioData, true), (13n << 32n) | 9n);
  memoryExit(false, 0xc000_0000, 8);
  assert.equal(view.getBigUint64(Run.mmioData, true), 2n ** 64n - 1n);
});

test("a triple fault and a reset event reset the machine, a shutdown event powers it off", () => {
  const fault = rig();
  assert.equal(fault.exit(Exit.shutdown), 1);
  assert.deepEqual(fault.told, ["reset: triple fault"]);
  const reset = rig();
  reset.view.setUint32(Run.systemEventType, 2, true);
  assert.equal(reset.exit(Exit.systemEvent), 1);
  assert.deepEqual(reset.told, ["reset: system event"]);
  const off = rig();
  off.view.setUint32(Run.systemEventType, 1, true);
  assert.equal(off.exit(Exit.systemEvent), 1);
  assert.deepEqual(off.told, ["power off"]);
});

test("an exit no guest should cause fails the machine with what KVM said and the registers", () => {
  const entry = rig();
  entry.view.setBigUint64(Run.hardwareReasonLow, 0x1_8000_0021n, true);
  assert.equal(entry.exit(Exit.failEntry), 1);
  assert.deepEqual(entry.told, [
    "fail: the processor refused to enter the guest: hardware reason 0x180000021\nrip 0",
  ]);
  const emulation = rig();
  emulation.view.setUint32(Run.internalSuberror, 1, true);
  emulation.view.setUint32(Run.internalDataCount, 3, true);
  emulation.view.setUint8(Run.emulationFlags, 1);
  emulation.view.setUint8(Run.emulationInstructionSize, 2);
  emulation.view.setUint8(Run.emulationInstruction, 0x0f);
  emulation.view.setUint8(Run.emulationInstruction + 1, 0x0a);
  assert.equal(emulation.exit(Exit.internalError), 1);
  assert.deepEqual(emulation.told, ["fail: KVM could not emulate an instruction: 0f 0a\nrip 0"]);
});

test("an interrupted KVM_RUN is repeated, any other failure fails the machine", () => {
  const { handler, told } = rig();
  assert.equal(handler.handle(-4), 0);
  assert.equal(handler.handle(-11), 0);
  assert.equal(handler.counts[Exit.intr], 2);
  assert.equal(handler.handle(-14), 1);
  assert.deepEqual(told, ["fail: KVM_RUN failed (EFAULT)\nrip 0"]);
});

test("a device that throws fails the machine, not the process", () => {
  const { pio, portExit, told } = rig();
  const broken: RegisterBlock = {
    read: () => {
      throw new RangeError("broken device");
    },
    write: () => {},
  };
  pio.register("broken", { start: 0x10, size: 1 }, broken);
  assert.equal(portExit(false, 0x10, 1), 1);
  assert.match(told[0] as string, /^fail: a device failed at an exit: broken device\n/);
});

test("in a paused machine an exit waits, and is carried out then", () => {
  const { pio, told, pause, portExit } = rig();
  const seen = recorder(0);
  pio.register(
    "port",
    { start: 0x100, size: 4 },
    {
      read: seen.read,
      write: (offset, size, value) => {
        told.push("written");
        seen.write(offset, size, value);
      },
    },
  );
  pause();
  assert.equal(portExit(true, 0x100, 1), 0);
  assert.deepEqual(told, ["parked", "written"]);
  assert.equal(portExit(true, 0x100, 1), 0);
  assert.deepEqual(told, ["parked", "written", "written"]);
});

test("exits are counted by reason, and a machine that is ending enters no guest again", () => {
  const { exit, portExit, handler, machine, left } = rig();
  portExit(true, 0x80, 1);
  portExit(true, 0x80, 1);
  exit(Exit.hlt);
  assert.equal(handler.counts[Exit.io], 2);
  assert.equal(handler.counts[Exit.hlt], 1);
  assert.equal(left(), 0);
  machine.ending = true;
  assert.equal(exit(Exit.hlt), 1);
  assert.equal(left(), 1);
  assert.equal(handler.counts[Exit.hlt], 1);
});
