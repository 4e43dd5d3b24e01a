/**
 * One virtual machine: everything between the configuration and the running guest, put together.
 *
 * KVM gives vCPUs, interrupt controllers and the interval timer; the buses lead exits to the devices; PCI carries the
 * virtio devices. The machine ends once, by the first of: reset, power-off, stop, failure. Then the vCPUs leave the
 * guest and `onEnd` is called on the main thread; what comes after (a new machine, the process's end) is the caller's.
 */
import { cpuTopology } from "../base/cpu-topology.ts";
import { messageOf, ThimbleError } from "../base/errors.ts";
import { ThreadGate } from "../sys/eventfd.ts";
import { type Logger, limited } from "../sys/log.ts";
import type { EventLoop } from "../sys/loop.ts";
import { mapGuestRam, preferHugePages } from "../sys/memory.ts";
import type { buildAcpiTables } from "./acpi/tables.ts";
import { forField, openBootFile } from "./boot-files.ts";
import { MmioBus } from "./bus/mmio.ts";
import { PciBus } from "./bus/pci/bus.ts";
import { PioBus } from "./bus/pio.ts";
import type { DirectBoot, DiskLimits, VmmConfig } from "./config.ts";
import type { CharBackend, Clock } from "./contract.ts";
import { createExitHandler, type MachineControl } from "./cpu/exits.ts";
import { type RunnableVcpu, VcpuThreads } from "./cpu/vcpu-threads.ts";
import { AcpiPm } from "./devices/acpi-pm/acpi-pm.ts";
import { DebugConsole, DebugExit } from "./devices/debug/debug-ports.ts";
import type { BochsDisplay } from "./devices/display/bochs-display.ts";
import { I8042 } from "./devices/i8042/i8042.ts";
import { Ps2Keyboard } from "./devices/i8042/keyboard.ts";
import { PostCodePort, SystemControlPortA } from "./devices/legacy-ports/legacy-ports.ts";
import { ResetControl } from "./devices/reset/reset-control.ts";
import { Rtc } from "./devices/rtc/rtc.ts";
import { Uart16550 } from "./devices/serial/uart16550.ts";
import type { AttachedFirmware } from "./firmware/firmware.ts";
import type { InputRouter } from "./input-router.ts";
import { Capability } from "./kvm/bits.ts";
import { KvmDoorbellController } from "./kvm/doorbells.ts";
import { InterruptLines, KvmMsiController } from "./kvm/interrupts.ts";
import { KvmSystem, type KvmVm } from "./kvm/kvm.ts";
import { GuestMemory, layoutRam } from "./memory/guest-memory.ts";
import { displayPart, firmwarePart, startPart } from "./parts.ts";
import { FirmwareLayout, firmwareWindow64, Gsi, Mmio, Port, pciWindow64 } from "./platform.ts";
import type { VirtioBalloon } from "./virtio/balloon/device.ts";
import type { NamedChannel } from "./virtio/serial/device.ts";
import { attachVirtio, type VirtioDevices } from "./virtio-devices.ts";

/** Why a machine ended. `message` is a sentence for people. */
export interface MachineEnd {
  readonly kind: "reset" | "power-off" | "stopped" | "failed" | "debug-exit";
  /** With "debug-exit": the process's exit status. */
  readonly status?: number;
  readonly message: string;
}

/** What a machine needs from its process. */
export interface MachineHost {
  readonly loop: EventLoop;
  readonly clock: Clock;
  readonly log: Logger;
  readonly serial: CharBackend;
  /** For the virtio-console; null when the machine has none. */
  readonly console: CharBackend | null;
  readonly channels: readonly NamedChannel[];
  /** Takes the debug console's characters; null when the machine has none. */
  readonly debugConsole: ((byte: number) => void) | null;
  /** Called when the machine is paused, or goes on (null). */
  readonly onPause?: (reason: string | null) => void;
  /** Called once, on the main thread, when no vCPU is in the guest any more. */
  readonly onEnd: (end: MachineEnd) => void;
}

/** Who has paused a machine: it goes on when none of them wants it paused any more. */
export type PauseCause = "request" | "disk";

/** Names the memory in /proc/PID/smaps, where the host agent tells it from the VMM's own. */
const GUEST_RAM_NAME = "guest-ram";
/** A vCPU leaves the guest within microseconds; one that does not is stuck in the kernel. */
const LEAVE_PATIENCE_MS = 5000;
/** Lines a guest may cause in the log, which lies in memory. */
const COMPLAINTS_MAX = 50;

export class Machine implements MachineControl {
  /** See MachineControl. */
  ending = false;
  /** See MachineControl. */
  halted = false;
  readonly memory: GuestMemory;
  readonly balloon: VirtioBalloon;
  /** Null when the machine has no graphics. */
  readonly display: BochsDisplay | null;
  /** Takes what viewers type and point at; null when the machine has no graphics. */
  readonly input: InputRouter | null;
  readonly #host: MachineHost;
  readonly #vm: KvmVm;
  readonly #pio = new PioBus();
  readonly #mmio = new MmioBus();
  readonly #power: AcpiPm;
  readonly #serial: Uart16550;
  readonly #virtio: VirtioDevices;
  readonly #threads: VcpuThreads;
  readonly #firmware: AttachedFirmware | null = null;
  readonly #gate = new ThreadGate();
  /** What the machine is paused for, with a sentence for people. */
  readonly #pauses = new Map<PauseCause, string>();

  /**
   * Builds the machine and loads its kernel; nothing runs yet. Throws ThimbleError: "bad_config" naming the field when
   * a file cannot be used, "no_kvm"; SystemError when the host refuses something.
   */
  constructor(config: VmmConfig, host: MachineHost) {
    this.#host = host;
    const system = new KvmSystem();
    const maxCpus = system.checkExtension(Capability.maxVcpus);
    if (config.cpus > maxCpus) {
      throw new ThimbleError("bad_config", `cpus: this host's KVM gives a VM at most ${maxCpus}`);
    }
    const { FIRMWARE_MSRS, guestCpuid, modelCpuid, physicalAddressBits, RESET_MSRS } = startPart();
    const cpuid = modelCpuid(system.supportedCpuid(), config.cpu);
    const firmware = "firmware" in config.boot ? config.boot : null;
    const ram = layoutRam(config.memoryBytes, firmware ? FirmwareLayout.pciHoleStart : undefined);
    const { regions, map } = mapGuestRam(GUEST_RAM_NAME, ram, config.memory);
    this.memory = new GuestMemory(regions, map, preferHugePages);
    this.#vm = system.createVm();
    this.#vm.createInterruptControllers();
    this.#vm.useHostTscRate();
    this.#vm.setMemory(this.memory.regions);

    const lines = new InterruptLines(this.#vm);
    this.#power = new AcpiPm({
      interrupt: lines.connect(Gsi.sci),
      clock: host.clock,
      onPowerOff: () => this.powerOff(),
    });
    this.#serial = new Uart16550({
      interrupt: lines.connect(Gsi.com1),
      backend: host.serial,
      clock: host.clock,
    });
    const ps2 = this.#addLegacyDevices(config, lines);
    this.#addDebugDevices(config);
    const hostBridge = firmware ? firmwarePart().firmwareHostBridge(this.#mmio, () => pci.ecam) : undefined;
    const pci: PciBus = new PciBus({
      window: Mmio.pciWindow,
      mmio: this.#mmio,
      ...(hostBridge === undefined ? {} : { hostBridge }),
    });
    this.#pio.register("PCI address", Port.pciConfigAddress, pci.configAddress);
    this.#pio.register("PCI data", Port.pciConfigData, pci.configData);
    this.#pio.register(
      "reset control",
      Port.resetControl,
      new ResetControl({ onReset: () => this.reset("reset control register") }),
    );
    if (firmware === null) {
      this.#mmio.register("PCI configuration space", Mmio.ecam.start, Mmio.ecam.size, pci.ecam);
    }
    this.#virtio = attachVirtio(config, {
      pci,
      memory: this.memory,
      loop: host.loop,
      log: host.log,
      lines,
      msi: new KvmMsiController(this.#vm),
      doorbells: new KvmDoorbellController(this.#vm, host.loop),
      complaints: limited((message) => host.log.warn(message), COMPLAINTS_MAX),
      console: host.console,
      channels: host.channels,
      cpus: config.cpus,
      clock: host.clock,
      pause: (reason) => (reason === null ? this.resume("disk") : this.pause("disk", reason)),
    });
    const { input } = this.#virtio;
    this.balloon = this.#virtio.balloon;
    this.input = input && new (displayPart().InputRouter)({ ...input, ps2 });

    this.display = config.graphics === undefined ? null : displayPart().attachDisplay(this.#vm, pci);

    const topology = cpuTopology(config.cpus, config.cpu);
    const tscDeadlineTimer = system.checkExtension(Capability.tscDeadlineTimer) !== 0;
    const vcpus: RunnableVcpu[] = [];
    for (let cpu = 0; cpu < config.cpus; cpu++) {
      const vcpu = this.#vm.createVcpu(cpu);
      vcpu.setCpuid(guestCpuid(cpuid, { cpus: config.cpus, cpu, topology, tscDeadlineTimer }));
      for (const index of vcpu.setMsrs(firmware ? RESET_MSRS : FIRMWARE_MSRS)) {
        host.log.debug(`KVM does not let MSR 0x${index.toString(16)} be set`);
      }
      const exits = createExitHandler(vcpu.run, this.#pio, this.#mmio, this, () => vcpu.describe());
      vcpus.push({ vcpu, exits });
    }
    const addressBits = physicalAddressBits(cpuid);
    if (firmware && hostBridge) {
      this.#firmware = firmwarePart().attachFirmware({
        boot: firmware,
        name: config.name,
        cpus: config.cpus,
        memory: this.memory,
        pciWindow64: firmwareWindow64(config.memoryBytes, addressBits),
        vm: this.#vm,
        pio: this.#pio,
        mmio: this.#mmio,
        pci,
        hostBridge,
        onError: (error) => host.log.error(`the firmware variables cannot be written: ${messageOf(error)}`),
      });
    } else if (!("firmware" in config.boot)) {
      const window64 = pciWindow64(config.memoryBytes, addressBits);
      const { buildAcpiTables, directBootConfig, placeSmbios } = startPart();
      const rsdp = buildAcpiTables(this.memory, directBootConfig(config.cpus, window64));
      placeSmbios(this.memory, config.name);
      this.#loadKernel(config.boot, rsdp, vcpus[0] as RunnableVcpu);
    }
    this.#threads = new VcpuThreads(vcpus);
  }

  /** Starts the guest. */
  start(): void {
    this.#threads.start();
  }

  /** Exits of all vCPUs since the start. */
  exits(): number {
    return this.#threads.exits();
  }

  /** Sets what a disk may do from now on. Throws ThimbleError("no_such_disk"). */
  limitDisk(index: number, limits: DiskLimits): void {
    const disk = this.#virtio.disks[index];
    if (disk === undefined) throw new ThimbleError("no_such_disk", `The machine has no disk ${index}.`);
    disk.setLimits(limits);
  }

  /** Why the machine is paused; null while it runs. */
  get pauseReason(): string | null {
    const [reason] = this.#pauses.values();
    return reason ?? null;
  }

  /** Keeps the guest from running until `resume` for the same cause. */
  pause(cause: PauseCause, reason: string): void {
    const before = this.pauseReason;
    this.#pauses.set(cause, reason);
    this.halted = true;
    if (before === null) this.#threads.interrupt();
    if (before !== this.pauseReason) this.#host.onPause?.(this.pauseReason);
  }

  /** On request, disks that wait try again at once. */
  resume(cause: PauseCause): void {
    if (cause === "request") this.#virtio.retryDisks();
    if (!this.#pauses.delete(cause)) return;
    if (this.#pauses.size === 0 && !this.ending) {
      this.halted = false;
      this.#threads.resume();
      this.#gate.open();
    }
    this.#host.onPause?.(this.pauseReason);
  }

  /** See MachineControl. */
  park(): void {
    while (this.#pauses.size > 0 && !this.ending) this.#gate.wait();
  }

  pressPowerButton(): void {
    this.#power.pressPowerButton();
  }

  reset(cause: string): void {
    this.#end({ kind: "reset", message: `the machine was reset: ${cause}` });
  }

  powerOff(): void {
    this.#end({ kind: "power-off", message: "the guest powered off" });
  }

  stop(cause: string): void {
    this.#end({ kind: "stopped", message: cause });
  }

  fail(message: string): void {
    this.#end({ kind: "failed", message });
  }

  vcpuLeft(): void {
    this.#threads.left();
  }

  /** After the end: hands out what the serial port still holds, and brings disks to stable storage. */
  close(): void {
    this.#serial.flush();
    this.#virtio.close();
    this.#firmware?.close();
  }

  /** May be called on any thread. */
  #end(end: MachineEnd): void {
    if (this.ending) return;
    this.ending = this.halted = true;
    this.#gate.open();
    const { loop, log, onEnd } = this.#host;
    loop.post(() => {
      let told = false;
      const tell = () => {
        if (told) return;
        told = true;
        onEnd(end);
      };
      loop.after(LEAVE_PATIENCE_MS, () => {
        if (!told) log.error(`a vCPU did not leave the guest within ${LEAVE_PATIENCE_MS} ms`);
        tell();
      });
      this.#threads.stop(() => loop.post(tell));
    });
  }

  #addLegacyDevices(config: VmmConfig, lines: InterruptLines): I8042 {
    const { clock } = this.#host;
    const keyboard = new I8042({
      interrupt: lines.connect(Gsi.keyboard),
      onReset: () => this.reset("keyboard controller"),
      ...("firmware" in config.boot || config.graphics !== undefined ? { keyboard: new Ps2Keyboard() } : {}),
    });
    this.#pio.register("keyboard data", Port.i8042Data, keyboard);
    this.#pio.register("keyboard command", Port.i8042Command, keyboard.commandPort);
    // Port 0x61 belongs to KVM's interval timer.
    const rtc = new Rtc({
      interrupt: lines.connect(Gsi.rtc),
      clock,
      memoryBytes: config.memoryBytes,
      ...("firmware" in config.boot ? { pciHoleStart: FirmwareLayout.pciHoleStart } : {}),
      cpus: config.cpus,
    });
    this.#pio.register("real-time clock", Port.rtc, rtc);
    this.#pio.register("POST code", Port.postCode, new PostCodePort());
    const controlA = new SystemControlPortA({ onReset: () => this.reset("system control port A") });
    this.#pio.register("system control A", Port.systemControlA, controlA);
    this.#pio.register("COM1", Port.com1, this.#serial);
    this.#pio.register("ACPI power management", Port.acpiPm, this.#power);
    return keyboard;
  }

  #addDebugDevices(config: VmmConfig): void {
    const { debugConsole } = this.#host;
    if (debugConsole !== null) {
      const console = new DebugConsole(debugConsole);
      this.#pio.register("debug console", Port.debugConsole, console);
      this.#pio.register("debug console", Port.debugConsoleOvmf, console);
    }
    if (!config.debugExit) return;
    const onExit = (status: number) =>
      this.#end({ kind: "debug-exit", status, message: `the guest ended the machine with status ${status}` });
    this.#pio.register("debug exit", Port.debugExit, new DebugExit(onExit));
    if ("firmware" in config.boot) return;
    // Test suites ask it for the number of CPUs and the memory.
    const { addMachineItems, FwCfg } = firmwarePart();
    const fwCfg = new FwCfg(this.memory);
    addMachineItems(fwCfg, config.cpus, this.memory);
    this.#pio.register("firmware configuration", Port.fwCfg, fwCfg);
  }

  #loadKernel(config: DirectBoot, rsdp: ReturnType<typeof buildAcpiTables>, boot: RunnableVcpu): void {
    const { kernel, initrd, commandLine } = config;
    const kernelFile = forField("boot.kernel", () => openBootFile(kernel));
    const initrdFile = initrd === undefined ? undefined : forField("boot.initrd", () => openBootFile(initrd));
    const state = forField("boot", () =>
      startPart().loadKernel({
        memory: this.memory,
        kernel: kernelFile,
        commandLine,
        rsdp,
        ...(this.display === null ? {} : { screen: displayPart().firmwareScreen(this.display) }),
        ...(initrdFile === undefined ? {} : { initrd: initrdFile }),
      }),
    );
    kernelFile.close();
    initrdFile?.close();
    boot.vcpu.setBootState(state);
  }
}
