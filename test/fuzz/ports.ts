/** The devices at I/O ports and fixed addresses. */
import type { Stateful } from "../../src/vmm/contract.ts";
import { AcpiPm } from "../../src/vmm/devices/acpi-pm/acpi-pm.ts";
import { DebugConsole, DebugExit } from "../../src/vmm/devices/debug/debug-ports.ts";
import { BLOCK_BYTES, FlashCommand } from "../../src/vmm/devices/flash/bits.ts";
import { NorFlash } from "../../src/vmm/devices/flash/flash.ts";
import { DmaAccess, FwCfgOffset } from "../../src/vmm/devices/fw-cfg/bits.ts";
import { FwCfg } from "../../src/vmm/devices/fw-cfg/fw-cfg.ts";
import { Command } from "../../src/vmm/devices/i8042/bits.ts";
import { I8042 } from "../../src/vmm/devices/i8042/i8042.ts";
import { Ps2Keyboard } from "../../src/vmm/devices/i8042/keyboard.ts";
import {
  PostCodePort,
  SystemControlPortA,
  SystemControlPortB,
} from "../../src/vmm/devices/legacy-ports/legacy-ports.ts";
import { ResetControl } from "../../src/vmm/devices/reset/reset-control.ts";
import { Rtc } from "../../src/vmm/devices/rtc/rtc.ts";
import { Uart16550 } from "../../src/vmm/devices/serial/uart16550.ts";
import { RecordedLine } from "../../src/vmm/devices/test-support.ts";
import { Port } from "../../src/vmm/platform.ts";
import { TestTerminal } from "../../src/vmm/virtio/testing/fakes.ts";
import { mmioSpace, portSpace } from "./spaces.ts";
import { MEMORY_BYTES, type Subject, type SubjectKind } from "./subject.ts";

const state = (device: Stateful): Pick<Subject, "reset" | "save" | "restore"> => ({
  reset: () => device.reset(),
  save: () => device.save(),
  restore: (saved) => device.restore(saved),
});

/** Ports without memory of their own. */
const stateless: Pick<Subject, "reset" | "save" | "restore"> = {
  reset: () => {},
  save: () => ({ version: 1 }),
  restore: () => {},
};

/** The PM timer ticks 715,909 times in 200 ms: whole ticks, so that none is cut when the timer is saved. */
const PM_TIMER_STEP_MS = 200;

export const serial: SubjectKind = {
  covers: ["devices/serial/uart16550.ts"],
  actionShare: 20,
  mustReach: ["a byte goes out", "the line rises"],
  build(world) {
    const line = new RecordedLine();
    const terminal = new TestTerminal();
    const device = new Uart16550({ clock: world.clock, interrupt: line, backend: terminal });
    return {
      ...state(device),
      quiet: () => terminal.clear(),
      spaces: [portSpace("COM1", Port.com1.size, device)],
      actions: {
        type: (random) => {
          if (terminal.pending < 100) terminal.type("x".repeat(random.below(40)));
        },
        time: (random) => {
          world.clock.advance(random.below(20));
          world.count("a byte goes out", terminal.output.length);
          world.count("the line rises", line.rises);
          terminal.output = "";
          line.rises = 0;
        },
      },
    };
  },
};

export const rtc: SubjectKind = {
  covers: ["devices/rtc/rtc.ts"],
  actionShare: 10,
  mustReach: ["time passes", "the line rises"],
  build(world) {
    const line = new RecordedLine();
    const device = new Rtc({ clock: world.clock, interrupt: line, memoryBytes: MEMORY_BYTES, cpus: 2 });
    return {
      ...state(device),
      spaces: [portSpace("CMOS", Port.rtc.size, device)],
      actions: {
        time: (random) => {
          // The periodic interrupt may come 8192 times a second: a long sleep is for the quiet clock.
          world.clock.advance(random.pick([1 / 64, 1, 20, 1000]));
          world.count("time passes");
          world.count("the line rises", line.rises);
          line.rises = 0;
        },
        // A register by number, as every driver does it; random accesses to two ports rarely pair up.
        set: (random) => {
          device.write(0, 1, random.below(16));
          device.write(1, 1, random.below(256));
        },
        get: (random) => {
          device.write(0, 1, random.below(16));
          device.read(1, 1);
        },
      },
    };
  },
};

export const i8042: SubjectKind = {
  covers: ["devices/i8042/i8042.ts", "devices/i8042/keyboard.ts"],
  actionShare: 20,
  mustReach: ["the line rises", "reset asked"],
  build(world) {
    const line = new RecordedLine();
    const device = new I8042({
      interrupt: line,
      onReset: () => world.count("reset asked"),
      keyboard: new Ps2Keyboard(),
    });
    return {
      ...state(device),
      spaces: [portSpace("data", 1, device), portSpace("command", 1, device.commandPort)],
      actions: {
        command: (random) => {
          device.commandPort.write(0, 1, random.pick(Object.values(Command)));
          device.write(0, 1, random.below(256));
        },
        key: (random) => {
          device.key(random.below(300), random.below(2) === 0);
          world.count("the line rises", line.rises);
          line.rises = 0;
        },
      },
    };
  },
};

export const acpiPm: SubjectKind = {
  covers: ["devices/acpi-pm/acpi-pm.ts"],
  actionShare: 10,
  mustReach: ["time passes", "power-off asked", "the line rises"],
  build(world) {
    const line = new RecordedLine();
    const device = new AcpiPm({
      clock: world.clock,
      interrupt: line,
      onPowerOff: () => world.count("power-off asked"),
    });
    return {
      ...state(device),
      spaces: [portSpace("PM1", Port.acpiPm.size, device)],
      actions: {
        time: (random) => {
          world.clock.advance(PM_TIMER_STEP_MS * random.pick([1, 10, random.below(50_000)]));
          world.count("time passes");
        },
        button: () => {
          device.pressPowerButton();
          world.count("the line rises", line.rises);
          line.rises = 0;
        },
      },
    };
  },
};

/** As a guest has to write it to a register in big endian. */
const swap = (value: number): number => new DataView(Uint32Array.of(value).buffer).getUint32(0, false);

export const fwCfg: SubjectKind = {
  covers: ["devices/fw-cfg/fw-cfg.ts"],
  actionShare: 40,
  mustReach: ["a transfer ends well", "a transfer fails"],
  build(world) {
    const { memory } = world;
    const device = new FwCfg(memory);
    device.addFile("opt/constant", new Uint8Array(5000).fill(7));
    device.addFile("opt/made", () => new Uint8Array(300).fill(9), 300);
    return {
      ...state(device),
      spaces: [portSpace("fw_cfg", Port.fwCfg.size, device)],
      actions: {
        dma: (random) => {
          const at = random.pick([0x1000, 0x2001, MEMORY_BYTES - 16, MEMORY_BYTES - 8, random.u32()]);
          const inRam = at <= MEMORY_BYTES - DmaAccess.size;
          if (inRam) {
            const control = (random.below(0x30) << 16) | random.below(0x20);
            const length = random.pick([0, 1, 64, 5000, 70_000, random.u32()]);
            const address = random.pick([0x8000, MEMORY_BYTES - 100, random.u32()]);
            memory.write(at, DmaAccess.encode({ control, length, address }));
          }
          device.write(FwCfgOffset.dmaHigh, 4, random.below(20) === 0 ? random.u32() : 0);
          device.write(FwCfgOffset.dmaLow, 4, swap(at));
          if (!inRam) return;
          const { control } = DmaAccess.decode(memory.read(at, DmaAccess.size));
          world.count(control === 0 ? "a transfer ends well" : "a transfer fails");
        },
        select: (random) => device.write(FwCfgOffset.selector, 2, random.below(0x30)),
      },
    };
  },
};

export const flash: SubjectKind = {
  covers: ["devices/flash/flash.ts"],
  actionShare: 30,
  mustReach: ["programmed", "erased", "the store fails", "the array is hidden"],
  build(world) {
    const content = world.disk.subarray(0, 4 * BLOCK_BYTES);
    let broken = false;
    const device = new NorFlash({
      content,
      store: {
        write: (_offset, bytes) => {
          if (broken) world.count("the store fails");
          else world.count(bytes.every((byte) => byte === 0xff) ? "erased" : "programmed");
          return !broken;
        },
      },
      onArray: (shown) => {
        if (!shown) world.count("the array is hidden");
      },
    });
    return {
      ...state(device),
      quiet: () => {
        broken = false;
      },
      spaces: [mmioSpace("flash", content.length, device)],
      actions: {
        erase: (random) => {
          const at = random.below(content.length);
          device.write(at, 1, FlashCommand.blockErase);
          device.write(at, 1, FlashCommand.confirm);
        },
        program: (random) => {
          const size = random.pick([1, 2, 4]);
          const at = random.below(content.length - 4);
          for (let i = random.below(20); i >= 0; i--) {
            device.write(at, size, FlashCommand.program);
            device.write(at + i, size, random.u32() >>> (32 - 8 * size));
          }
        },
        command: (random) =>
          device.write(random.below(content.length), 1, random.pick(Object.values(FlashCommand))),
        storeBreaks: (random) => {
          broken = random.below(4) === 0;
        },
      },
    };
  },
};

export const legacyPorts: SubjectKind = {
  covers: [
    "devices/legacy-ports/legacy-ports.ts",
    "devices/reset/reset-control.ts",
    "devices/debug/debug-ports.ts",
  ],
  actionShare: 0,
  mustReach: ["reset asked", "debug exit", "debug output"],
  build(world) {
    const onReset = () => world.count("reset asked");
    const a = new SystemControlPortA({ onReset });
    const b = new SystemControlPortB();
    const control = new ResetControl({ onReset });
    return {
      ...stateless,
      spaces: [
        portSpace("system control A", 1, a),
        portSpace("system control B", 1, b),
        portSpace("reset control", 1, control),
        portSpace("POST code", 1, new PostCodePort()),
        portSpace("debug console", 1, new DebugConsole(() => world.count("debug output"))),
        portSpace("debug exit", Port.debugExit.size, new DebugExit(() => world.count("debug exit"))),
      ],
      actions: {},
      reset: () => {
        for (const device of [a, b, control]) device.reset();
      },
      save: () => ({ version: 1, a: a.save(), b: b.save(), control: control.save() }),
      restore: (saved) => {
        a.restore(saved.a as ReturnType<typeof a.save>);
        b.restore(saved.b as ReturnType<typeof b.save>);
        control.restore(saved.control as ReturnType<typeof control.save>);
      },
    };
  },
};
