/**
 * virtio over PCI, modern only (virtio 1.2, 4.1).
 *
 * One BAR holds, each on a page of its own, the common configuration, ISR, device configuration, a doorbell per queue
 * and the MSI-X table and pending bits. A doorbell that rings (through the kernel, or as a plain MMIO write) ends in
 * the device's `handleQueue`; a used buffer ends in MSI-X or in ISR and INTx.
 *
 * Life: the driver negotiates (status ACKNOWLEDGE, DRIVER, FEATURES_OK), places its queues, and at DRIVER_OK the
 * queues start and the device is activated. A broken rule stops every queue and sets DEVICE_NEEDS_RESET. Writing 0
 * resets from any state; until requests of the old driver have left guest memory alone the status keeps reading as it
 * was.
 */

import { type GuestPhysical, guestPhysical } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import { PciFunction } from "../bus/pci/function.ts";
import { Msix } from "../bus/pci/msix.ts";
import type {
  DeviceState,
  Doorbell,
  DoorbellController,
  InterruptLine,
  MsiController,
  RegisterBlock,
  Stateful,
} from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { StateReader } from "../state.ts";
import {
  DeviceStatus,
  Feature,
  Isr,
  NO_VECTOR,
  PCI_DEVICE_ID_BASE,
  PCI_REVISION_ID,
  PCI_SUBSYSTEM_ID,
  PCI_VENDOR_ID,
} from "./bits.ts";
import { CommonConfig, type CommonConfigOwner } from "./common-config.ts";
import {
  type Features,
  features,
  hasFeature,
  type KernelRing,
  type VirtioDevice,
  type VirtioHost,
} from "./device.ts";
import {
  addVirtioCapabilities,
  BAR,
  BAR_SIZE,
  NOTIFY_STRIDE,
  PAGE_SHIFT,
  PAGE_SIZE,
  Page,
} from "./pci-capabilities.ts";
import { VirtQueue } from "./queue.ts";

/** What a transport is built from. */
export interface VirtioPciOptions {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  readonly msi: MsiController;
  /** Null: queue notifications are served where they arrive, on the vCPU's thread. */
  readonly doorbells: DoorbellController | null;
  /** Where INTA goes while the guest does not use MSI-X; null: no interrupt pin. */
  readonly line: InterruptLine | null;
  /** Calls back soon on the main thread, after other events had their turn. */
  readonly defer: (callback: () => void) => void;
  /** Told when a driver broke a rule. */
  readonly log?: (message: string) => void;
}

/** The driver rings with a 16-bit write of the queue's index (4.1.5.2). */
const NOTIFY_WIDTH = 2;
const STATE_VERSION = 1;
const RING_FEATURES = features(Feature.RING_INDIRECT_DESC, Feature.RING_EVENT_IDX, Feature.VERSION_1);
/** What a driver may set in device_status; DEVICE_NEEDS_RESET is the device's. */
const DRIVER_STATUS =
  DeviceStatus.ACKNOWLEDGE |
  DeviceStatus.DRIVER |
  DeviceStatus.DRIVER_OK |
  DeviceStatus.FEATURES_OK |
  DeviceStatus.FAILED;

export class VirtioPci implements Stateful {
  /** To be put on the PCI bus. */
  readonly function: PciFunction;
  readonly device: VirtioDevice;
  readonly queues: readonly VirtQueue[];
  readonly msix: Msix;
  readonly #options: VirtioPciOptions;
  readonly #common: CommonConfig;
  readonly #doorbells: (Doorbell | null)[] = [];
  readonly #kernelRun: boolean[] = [];
  readonly #deferred: boolean[] = [];
  #barAddress: GuestPhysical | null = null;
  #isr = 0;
  /** What device_status reads as while a reset waits for requests of the old driver. */
  #drainingStatus = 0;

  constructor(options: VirtioPciOptions) {
    const { device, memory } = options;
    this.#options = options;
    this.device = device;
    this.function = new PciFunction(
      device.name,
      {
        vendorId: PCI_VENDOR_ID,
        deviceId: PCI_DEVICE_ID_BASE + device.deviceType,
        revisionId: PCI_REVISION_ID,
        classCode: device.classCode,
        subsystemVendorId: PCI_VENDOR_ID,
        subsystemId: PCI_SUBSYSTEM_ID,
      },
      options.line,
    );
    this.queues = device.queueSizes.map(
      (size, i) =>
        new VirtQueue(
          i,
          size,
          memory,
          (index) => this.#interruptQueue(index),
          (reason) => this.#needsReset(reason),
        ),
    );
    const owner: CommonConfigOwner = {
      offered: {
        low: (device.features.low | RING_FEATURES.low) >>> 0,
        high: (device.features.high | RING_FEATURES.high) >>> 0,
      },
      queueSizes: device.queueSizes,
      // One for configuration changes and one per queue.
      vectors: device.queueSizes.length + 1,
      visibleStatus: () => this.#visibleStatus(),
      statusWritten: (value) => this.#statusWritten(value),
    };
    this.#common = new CommonConfig(owner);
    this.#common.onVectorChanged = (queue) => this.#callFdChanged(queue);
    this.#offered = owner.offered;
    this.function.addBar({
      index: BAR,
      sizeBytes: BAR_SIZE,
      block: this.#bar,
      onMoved: (address) => {
        this.#barAddress = address;
        this.#placeDoorbells();
      },
    });
    this.msix = new Msix(this.function, owner.vectors, options.msi, {
      bar: BAR,
      tableOffset: Page.msixTable << PAGE_SHIFT,
      pbaOffset: Page.msixPba << PAGE_SHIFT,
    });
    this.msix.onUnmasked = (vector) => this.#unmasked(vector);
    addVirtioCapabilities(this.function, device.configSize, device.queueSizes.length, this.#bar);
    for (const queue of this.queues) {
      const ring = () => this.#ring(queue.index);
      this.#doorbells.push(options.doorbells?.create(NOTIFY_WIDTH, ring) ?? null);
      this.#kernelRun.push(false);
      this.#deferred.push(false);
    }
    device.connect(this.#host);
  }

  /** Power-on state of device, registers and configuration space; BARs go back to where they were at first. */
  reset(): void {
    this.#resetDevice();
    this.#drainingStatus = 0;
    this.#common.generation = 0;
    this.function.reset();
    this.msix.reset();
  }

  /** Throws ThimbleError("device_busy") while requests are at a backend. */
  save(): DeviceState {
    if (this.device.busy) {
      throw new ThimbleError(
        "device_busy",
        `${this.device.name} has requests in flight: save it when they are done`,
      );
    }
    const device = this.device.save();
    return {
      version: STATE_VERSION,
      pci: this.function.save(),
      msix: this.msix.save(),
      common: this.#common.save(),
      isr: this.#isr,
      queues: this.queues.map((queue) => queue.save()),
      device,
    };
  }

  /** Guest memory has been restored before. */
  restore(state: DeviceState): void {
    const { name } = this.device;
    const from = new StateReader(name, state, STATE_VERSION);
    const queues = from.list("queues", this.queues.length);
    const isr = from.u8("isr");
    this.#resetDevice();
    this.#drainingStatus = 0;
    this.function.restore(from.nested("pci"));
    this.#common.restore(from.nested("common"));
    this.#isr = isr;
    this.msix.restore(from.nested("msix"));
    const { DRIVER_OK, DEVICE_NEEDS_RESET } = DeviceStatus;
    if ((this.#common.status & (DRIVER_OK | DEVICE_NEEDS_RESET)) === DRIVER_OK) {
      const problem = this.#featuresFit() ? this.#startQueues(queues) : "features that do not fit";
      if (problem !== null) throw new ThimbleError("bad_state", `${name}: ${problem}`);
      this.#activate();
    }
    this.device.restore(from.nested("device"));
  }

  readonly #offered: Features;

  readonly #host: VirtioHost = {
    configChanged: () => this.#configChanged(),
    needsReset: (reason) => this.#needsReset(reason),
    defer: (index) => this.#defer(index),
    handOver: (index) => this.#handOver(index),
    takeBack: (index, nextAvailable) => this.#takeBack(index, nextAvailable),
  };

  readonly #bar: RegisterBlock = {
    read: (offset, size) => {
      const at = offset & (PAGE_SIZE - 1);
      switch (offset >> PAGE_SHIFT) {
        case Page.common:
          return this.#common.read(at, size);
        case Page.isr:
          return at === 0 ? this.#readIsr() : 0;
        case Page.device:
          return at + size <= this.device.configSize ? this.device.configRead(at, size) : 0;
        case Page.msixTable:
          return this.msix.table.read(at, size);
        case Page.msixPba:
          return this.msix.pba.read(at, size);
        default:
          return 0;
      }
    },
    write: (offset, size, value) => {
      const at = offset & (PAGE_SIZE - 1);
      switch (offset >> PAGE_SHIFT) {
        case Page.common:
          this.#common.write(at, size, value);
          return;
        case Page.device:
          if (at + size <= this.device.configSize) this.device.configWrite(at, size, value);
          return;
        case Page.notify:
          // The address tells the queue; the value does too, but a driver might lie.
          this.#ring(at >> 2);
          return;
        case Page.msixTable:
          this.msix.table.write(at, size, value);
          return;
      }
    },
  };

  #visibleStatus(): number {
    if (this.#drainingStatus !== 0) {
      if (this.device.busy) return this.#drainingStatus;
      this.#drainingStatus = 0;
    }
    return this.#common.status;
  }

  #statusWritten(value: number): void {
    const common = this.#common;
    if (value === 0) {
      const before = common.status;
      this.#resetDevice();
      if (this.device.busy && this.#drainingStatus === 0) this.#drainingStatus = before;
      return;
    }
    // A driver that does not wait for its reset (it must) has to live with the old requests.
    this.#drainingStatus = 0;
    const set = value & DRIVER_STATUS & ~common.status;
    common.status |= set & ~(DeviceStatus.FEATURES_OK | DeviceStatus.DRIVER_OK);
    if (set & DeviceStatus.FEATURES_OK && this.#featuresFit()) common.status |= DeviceStatus.FEATURES_OK;
    if (set & DeviceStatus.DRIVER_OK) {
      if ((common.status & DeviceStatus.FEATURES_OK) === 0) {
        this.#needsReset("the driver set DRIVER_OK before the features were agreed on");
        return;
      }
      common.status |= DeviceStatus.DRIVER_OK;
      const problem = this.#startQueues(null);
      if (problem !== null) this.#needsReset(problem);
      else this.#activate();
    }
  }

  #driverFeatures(): Features {
    return { low: this.#common.driverLow, high: this.#common.driverHigh };
  }

  /** Whether the driver's features were all offered and go together (3.1.1, 6.1). */
  #featuresFit(): boolean {
    const chosen = this.#driverFeatures();
    const offered = this.#offered;
    if ((chosen.low & ~offered.low) !== 0 || (chosen.high & ~offered.high) !== 0) return false;
    return hasFeature(chosen, Feature.VERSION_1) && (this.device.accepts?.(chosen) ?? true);
  }

  /** Starts the enabled queues, where they stopped when a saved state is given. Returns what is wrong, or null. */
  #startQueues(saved: readonly DeviceState[] | null): string | null {
    const chosen = this.#driverFeatures();
    const options = {
      eventIndex: hasFeature(chosen, Feature.RING_EVENT_IDX),
      indirect: hasFeature(chosen, Feature.RING_INDIRECT_DESC),
    };
    for (const queue of this.queues) {
      const layout = this.#common.layout(queue.index);
      if (layout === null) continue;
      const problem = queue.start(layout, options);
      if (problem !== null) return `queue ${queue.index}: the driver gave ${problem}`;
      if (saved !== null) queue.restore(saved[queue.index] as DeviceState);
    }
    return null;
  }

  #activate(): void {
    this.device.activate(
      this.queues.map((queue) => (queue.running ? queue : null)),
      this.#driverFeatures(),
    );
    this.#placeDoorbells();
    // A driver may have filled its queues, and rung, before DRIVER_OK.
    for (const queue of this.queues) if (queue.running) this.#defer(queue.index);
  }

  #resetDevice(): void {
    for (const queue of this.queues) queue.stop();
    this.device.reset();
    this.#doorbells.forEach((doorbell, i) => {
      if (this.#kernelRun[i]) doorbell?.setListening(true);
      this.#kernelRun[i] = false;
    });
    this.#common.reset();
    this.#placeDoorbells();
    this.#isr = 0;
    this.function.setInterrupt(false);
  }

  #needsReset(reason: string): void {
    const common = this.#common;
    if (common.status & DeviceStatus.DEVICE_NEEDS_RESET) return;
    this.#options.log?.(`${this.device.name}: ${reason}; the device waits for a reset`);
    common.status |= DeviceStatus.DEVICE_NEEDS_RESET;
    for (const queue of this.queues) queue.stop();
    this.#configChanged();
  }

  #configChanged(): void {
    this.#common.generation = (this.#common.generation + 1) & 0xff;
    if (this.#common.status & DeviceStatus.DRIVER_OK) this.#interrupt(this.#common.configVector, Isr.CONFIG);
  }

  #interruptQueue(index: number): void {
    this.#interrupt(this.#common.queueVector(index), Isr.QUEUE);
  }

  #interrupt(vector: number, cause: number): void {
    if (this.msix.enabled) {
      if (vector !== NO_VECTOR) this.msix.notify(vector);
      return;
    }
    this.#isr |= cause;
    this.function.setInterrupt(true);
  }

  /** Reading clears it and releases the line (4.1.4.5.1). */
  #readIsr(): number {
    const value = this.#isr;
    this.#isr = 0;
    this.function.setInterrupt(false);
    return value;
  }

  #ring(index: number): void {
    if (this.queues[index]?.running) this.device.handleQueue(index);
  }

  #defer(index: number): void {
    if (this.#deferred[index]) return;
    this.#deferred[index] = true;
    this.#options.defer(() => {
      this.#deferred[index] = false;
      this.#ring(index);
    });
  }

  /** Puts the doorbells of running queues where the BAR is, and takes the others away. */
  #placeDoorbells(): void {
    const bar = this.#barAddress;
    this.#doorbells.forEach((doorbell, i) => {
      const here = bar !== null && this.queues[i]?.running;
      doorbell?.place(here ? guestPhysical(bar + (Page.notify << PAGE_SHIFT) + NOTIFY_STRIDE * i) : null);
    });
  }

  #handOver(index: number): KernelRing | null {
    const queue = this.queues[index];
    const rings = queue?.rings;
    const doorbell = this.#doorbells[index];
    const callFd = this.#callFd(index);
    if (!queue || !rings || !doorbell || doorbell.eventFd < 0 || callFd < 0) return null;
    doorbell.setListening(false);
    this.#kernelRun[index] = true;
    return { index, ...rings, nextAvailable: queue.position, kickFd: doorbell.eventFd, callFd };
  }

  #takeBack(index: number, nextAvailable: number): void {
    if (!this.#kernelRun[index]) return;
    this.#kernelRun[index] = false;
    this.#doorbells[index]?.setListening(true);
    this.queues[index]?.resumeFrom(nextAvailable);
    this.#defer(index);
  }

  #callFd(index: number): number {
    return this.msix.enabled ? this.msix.eventFd(this.#common.queueVector(index)) : -1;
  }

  #callFdChanged(index: number): void {
    if (this.#kernelRun[index]) this.device.callFdChanged?.(index, this.#callFd(index));
  }

  /** What the kernel signalled while the vector was masked is lost: look-again interrupts make up for it. */
  #unmasked(vector: number): void {
    for (const queue of this.queues) {
      if (this.#kernelRun[queue.index] && this.#common.queueVector(queue.index) === vector)
        this.msix.notify(vector);
    }
  }
}
