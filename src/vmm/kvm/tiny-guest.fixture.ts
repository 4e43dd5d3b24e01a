/**
 * The program of kvm.native.test.ts: runs a guest of a few instructions on the machine's /dev/kvm through the same
 * classes as a real machine, and prints what was seen as one JSON line.
 *
 * The guest prints, reads a port, touches MMIO, rings a doorbell, waits for an interrupt with HLT, and powers off.
 */
import { guestPhysical } from "../../base/addresses.ts";
import { writeAll } from "../../sys/fs.ts";
import { EventLoop } from "../../sys/loop.ts";
import { mapGuestRam } from "../../sys/memory.ts";
import { utf8Encode } from "../../sys/text.ts";
import { MmioBus } from "../bus/mmio.ts";
import { PioBus } from "../bus/pio.ts";
import type { SegmentState } from "../cpu/boot-state.ts";
import { createExitHandler, type MachineControl } from "../cpu/exits.ts";
import { VcpuThreads } from "../cpu/vcpu-threads.ts";
import { GuestMemory, layoutRam } from "../memory/guest-memory.ts";
import { KvmDoorbellController } from "./doorbells.ts";
import { InterruptLines, KvmMsiController } from "./interrupts.ts";
import { KvmSystem } from "./kvm.ts";

const PROGRAM = 0x1000;
const TEXT = 0x1100;
const HANDLER = 0x1200;
const OUTPUT_PORT = 0x3f8;
const INPUT_PORT = 0x3fd;
const POWER_PORT = 0x604;
/** Above the guest's 64 KiB of RAM, so accesses leave KVM. */
const MMIO_BASE = 0xa_0000;
const DOORBELL_OFFSET = 0x20;
const INTERRUPT_GSI = 4;
const INTERRUPT_VECTOR = 0x0c;

const program = [
  [0xba, 0xf8, 0x03], // mov dx, 0x3f8
  [0xb0, 0x41, 0xee], // mov al, 'A'; out dx, al
  [0xbe, 0x00, 0x11, 0xb9, 0x03, 0x00, 0xfc, 0xf3, 0x6e], // mov si, TEXT; mov cx, 3; cld; rep outsb
  [0xba, 0xfd, 0x03, 0xec, 0xba, 0xf8, 0x03, 0xee], // mov dx, 0x3fd; in al, dx; mov dx, 0x3f8; out dx, al
  [0xb8, 0x00, 0xa0, 0x8e, 0xc0], // mov ax, 0xa000; mov es, ax
  [0x26, 0xc7, 0x06, 0x10, 0x00, 0x34, 0x12], // mov word es:[0x10], 0x1234
  [0x26, 0xa1, 0x12, 0x00, 0xef], // mov ax, es:[0x12]; out dx, ax
  // The interrupt controller: vectors from 8, only input 4 let through.
  [0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21],
  [0xb0, 0x01, 0xe6, 0x21, 0xb0, 0xef, 0xe6, 0x21],
  [0x26, 0xc7, 0x06, 0x20, 0x00, 0x01, 0x00], // mov word es:[0x20], 1: the doorbell
  [0xfb, 0xf4, 0xeb, 0xfd], // sti; hlt; jmp to the hlt
].flat();
// mov dx, 0x3f8; mov al, 'I'; out dx, al; mov dx, 0x604; out dx, al
const handler = [0xba, 0xf8, 0x03, 0xb0, 0x49, 0xee, 0xba, 0x04, 0x06, 0xee];

/** Addressable from 0, as in real mode. */
function realModeSegment(type: number): SegmentState {
  return {
    selector: 0,
    base: 0,
    limit: 0xffff,
    type,
    present: 1,
    dpl: 0,
    db: 0,
    s: 1,
    l: 0,
    g: 0,
    unusable: 0,
  };
}

const seen: string[] = [];
const loop = new EventLoop();
const vm = new KvmSystem().createVm();
vm.createInterruptControllers();
const ram = mapGuestRam("tiny-guest", layoutRam(64 * 1024));
const memory = new GuestMemory(ram.regions, ram.map);
vm.setMemory(ram.regions);
memory.write(PROGRAM, Uint8Array.from(program));
memory.write(TEXT, utf8Encode("xyz"));
memory.write(HANDLER, Uint8Array.from(handler));
memory.write(INTERRUPT_VECTOR * 4, Uint8Array.of(HANDLER & 0xff, HANDLER >> 8, 0, 0));

const lines = new InterruptLines(vm);
const msi = new KvmMsiController(vm);
const route = msi.create();
route.update({ address: 0xfee0_0000, data: 0x30 });
route.update(null);

const machine: MachineControl & { ending: boolean } = {
  ending: false,
  get halted() {
    return machine.ending;
  },
  park: () => {},
  reset: (cause) => end(`reset: ${cause}`),
  powerOff: () => end("power off"),
  fail: (message) => end(`fail: ${message}`),
  vcpuLeft: () => threads.left(),
};
function end(how: string): void {
  if (machine.ending) return;
  machine.ending = true;
  seen.push(how);
  loop.post(() => threads.stop(() => loop.post(() => loop.stop())));
}

const pio = new PioBus();
pio.register(
  "output",
  { start: OUTPUT_PORT, size: 4 },
  {
    read: () => 0,
    write: (_offset, size, value) => {
      seen.push(size === 1 ? String.fromCharCode(value) : `0x${value.toString(16)}`);
    },
  },
);
pio.register("input", { start: INPUT_PORT, size: 1 }, { read: () => 0x5a, write: () => {} });
pio.register("power", { start: POWER_PORT, size: 2 }, { read: () => 0, write: () => machine.powerOff() });
const mmio = new MmioBus();
mmio.register("registers", MMIO_BASE, 0x1000, {
  read: (offset, size) => offset * 0x100 + size,
  write: (offset, size, value) => {
    seen.push(`mmio ${offset}.${size}=${value.toString(16)}`);
  },
});
const line = lines.connect(INTERRUPT_GSI);
const doorbell = new KvmDoorbellController(vm, loop).create(2, () => {
  seen.push("doorbell");
  line.set(true);
});
doorbell.place(guestPhysical(MMIO_BASE + DOORBELL_OFFSET));

const vcpu = vm.createVcpu(0);
const data = realModeSegment(0x3);
vcpu.setBootState({
  rip: PROGRAM,
  rsp: 0x8000,
  rax: 0,
  rbx: 0,
  rsi: 0,
  rdi: 0,
  rbp: 0,
  rflags: 2,
  cr0: 0x10,
  cr3: 0,
  cr4: 0,
  efer: 0,
  cs: realModeSegment(0xb),
  data,
  tr: { ...realModeSegment(0xb), s: 0 },
  ldt: { ...realModeSegment(0x2), s: 0 },
  gdt: { base: guestPhysical(0), limit: 0xffff },
  idt: { base: guestPhysical(0), limit: 0xffff },
});
// An application processor: waits in the kernel for a start-up message that never comes.
const waiting = vm.createVcpu(1);
const runnable = [vcpu, waiting].map((each) => ({
  vcpu: each,
  exits: createExitHandler(each.run, pio, mmio, machine, () => each.describe()),
}));
const threads = new VcpuThreads(runnable);
threads.start();
const status = loop.run();
writeAll(1, utf8Encode(`${JSON.stringify({ seen, exits: threads.exits(), status })}\n`));
