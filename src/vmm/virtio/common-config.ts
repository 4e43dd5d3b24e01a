/**
 * The registers of struct virtio_pci_common_cfg (virtio 1.2, 4.1.4.3): what the driver wrote and what it reads back.
 * What a write of device_status means is decided by the transport.
 *
 * Reads go through an image of the structure, so that every width and offset works; writes count only with the width
 * of their field, as the specification demands of drivers.
 */
import type { DeviceState, RegisterBlock, Stateful } from "../contract.ts";
import { StateReader } from "../state.ts";
import { CommonCfg, DeviceStatus, NO_VECTOR } from "./bits.ts";
import type { Features } from "./device.ts";
import type { QueueLayout } from "./queue-layout.ts";

/** What the registers need to know of the device and its transport. */
export interface CommonConfigOwner {
  readonly offered: Features;
  readonly queueSizes: readonly number[];
  readonly vectors: number;
  /** What a read of device_status gives. */
  visibleStatus(): number;
  statusWritten(value: number): void;
}

/** Descriptor table, driver area, device area: low and high half each. */
const ADDRESS_DWORDS = 6;

/** The registers of one queue; addresses as pairs of dwords. */
interface QueueRegisters {
  size: number;
  vector: number;
  enabled: boolean;
  /** desc, driver, device: low and high dword each. */
  readonly addresses: Uint32Array;
}

const at = CommonCfg.offset;
const STATE_VERSION = 1;
const HIGH_DWORD = 0x1_0000_0000;

export class CommonConfig implements RegisterBlock, Stateful {
  status = 0;
  driverLow = 0;
  driverHigh = 0;
  configVector = NO_VECTOR;
  /** Changes with the device configuration, so that a driver notices that it read parts of two versions. */
  generation = 0;
  readonly #owner: CommonConfigOwner;
  readonly #queues: QueueRegisters[];
  readonly #image = new DataView(new ArrayBuffer(CommonCfg.size));
  /** Something that the image shows has changed, other than what every read brings up to date. */
  #stale = true;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #queueSelect = 0;

  constructor(owner: CommonConfigOwner) {
    this.#owner = owner;
    this.#queues = owner.queueSizes.map((size) => ({
      size,
      vector: NO_VECTOR,
      enabled: false,
      addresses: new Uint32Array(ADDRESS_DWORDS),
    }));
  }

  /** The MSI-X vector of a queue, or NO_VECTOR. */
  queueVector(index: number): number {
    return this.#queues[index]?.vector ?? NO_VECTOR;
  }

  /** Where the driver put a queue; null when it did not enable it. */
  layout(index: number): QueueLayout | null {
    const queue = this.#queues[index];
    if (queue === undefined || !queue.enabled) return null;
    const pair = (i: number) =>
      (queue.addresses[i] as number) + (queue.addresses[i + 1] as number) * HIGH_DWORD;
    return { size: queue.size, descriptorTable: pair(0), availableRing: pair(2), usedRing: pair(4) };
  }

  read(offset: number, size: number): number {
    if (offset + size > CommonCfg.size) return 0;
    const image = this.#image;
    if (this.#stale) this.#fillImage();
    // These two change without a write of the driver's.
    image.setUint8(at.device_status, this.#owner.visibleStatus());
    image.setUint8(at.config_generation, this.generation);
    return size === 4
      ? image.getUint32(offset, true)
      : size === 2
        ? image.getUint16(offset, true)
        : image.getUint8(offset);
  }

  write(offset: number, size: number, value: number): void {
    this.#stale = true;
    if (size === 4) this.#writeDword(offset, value >>> 0);
    else if (size === 2) this.#writeWord(offset, value & 0xffff);
    else if (offset === at.device_status) this.#owner.statusWritten(value & 0xff);
  }

  reset(): void {
    this.#stale = true;
    this.status = this.driverLow = this.driverHigh = 0;
    this.configVector = NO_VECTOR;
    this.#deviceFeatureSelect = this.#driverFeatureSelect = this.#queueSelect = 0;
    this.#queues.forEach((queue, i) => {
      queue.size = this.#owner.queueSizes[i] as number;
      queue.vector = NO_VECTOR;
      queue.enabled = false;
      queue.addresses.fill(0);
    });
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      status: this.status,
      driverLow: this.driverLow,
      driverHigh: this.driverHigh,
      configVector: this.configVector,
      generation: this.generation,
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      queueSelect: this.#queueSelect,
      queues: this.#queues.map((queue) => ({
        version: STATE_VERSION,
        ...queue,
        addresses: [...queue.addresses],
      })),
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("virtio-pci registers", state, STATE_VERSION);
    const queues = from.list("queues", this.#queues.length);
    this.#stale = true;
    this.status = from.u8("status");
    this.driverLow = from.u32("driverLow");
    this.driverHigh = from.u32("driverHigh");
    this.configVector = from.u16("configVector");
    this.generation = from.u8("generation");
    this.#deviceFeatureSelect = from.u32("deviceFeatureSelect");
    this.#driverFeatureSelect = from.u32("driverFeatureSelect");
    this.#queueSelect = from.u16("queueSelect");
    this.#queues.forEach((queue, i) => {
      const saved = new StateReader(`virtqueue ${i}`, queues[i] as DeviceState, STATE_VERSION);
      queue.size = saved.u16("size");
      queue.vector = saved.u16("vector");
      queue.enabled = saved.flag("enabled");
      queue.addresses.set(saved.dwords("addresses", ADDRESS_DWORDS));
    });
  }

  #fillImage(): void {
    this.#stale = false;
    const image = this.#image;
    const offered = this.#owner.offered;
    const queue = this.#queues[this.#queueSelect];
    image.setUint32(at.device_feature_select, this.#deviceFeatureSelect, true);
    image.setUint32(at.device_feature, half(offered.low, offered.high, this.#deviceFeatureSelect), true);
    image.setUint32(at.driver_feature_select, this.#driverFeatureSelect, true);
    image.setUint32(
      at.driver_feature,
      half(this.driverLow, this.driverHigh, this.#driverFeatureSelect),
      true,
    );
    image.setUint16(at.config_msix_vector, this.configVector, true);
    image.setUint16(at.num_queues, this.#queues.length, true);
    image.setUint16(at.queue_select, this.#queueSelect, true);
    // A queue that does not exist reads as size 0 (4.1.4.3.1).
    image.setUint16(at.queue_size, queue?.size ?? 0, true);
    image.setUint16(at.queue_msix_vector, queue?.vector ?? NO_VECTOR, true);
    image.setUint16(at.queue_enable, queue?.enabled ? 1 : 0, true);
    image.setUint16(at.queue_notify_off, queue === undefined ? 0 : this.#queueSelect, true);
    for (let i = 0; i < ADDRESS_DWORDS; i++)
      image.setUint32(at.queue_desc_low + 4 * i, queue?.addresses[i] ?? 0, true);
  }

  #writeDword(offset: number, value: number): void {
    switch (offset) {
      case at.device_feature_select:
        this.#deviceFeatureSelect = value;
        return;
      case at.driver_feature_select:
        this.#driverFeatureSelect = value;
        return;
      case at.driver_feature:
        // Once FEATURES_OK is set the choice stands (3.1.1).
        if (this.status & DeviceStatus.FEATURES_OK) return;
        if (this.#driverFeatureSelect === 0) this.driverLow = value;
        else if (this.#driverFeatureSelect === 1) this.driverHigh = value;
        return;
    }
    const index = (offset - at.queue_desc_low) / 4;
    const queue = this.#queues[this.#queueSelect];
    if (queue !== undefined && !queue.enabled && Number.isInteger(index) && index >= 0 && index < 6) {
      queue.addresses[index] = value;
    }
  }

  #writeWord(offset: number, value: number): void {
    const queue = this.#queues[this.#queueSelect];
    switch (offset) {
      case at.config_msix_vector:
        this.configVector = this.#vector(value);
        return;
      case at.queue_select:
        this.#queueSelect = value;
        return;
    }
    if (queue === undefined) return;
    switch (offset) {
      case at.queue_size: {
        const powerOfTwo = value !== 0 && (value & (value - 1)) === 0;
        const limit = this.#owner.queueSizes[this.#queueSelect] as number;
        if (!queue.enabled && powerOfTwo && value <= limit) queue.size = value;
        return;
      }
      case at.queue_msix_vector:
        queue.vector = this.#vector(value);
        this.onVectorChanged?.(this.#queueSelect);
        return;
      case at.queue_enable:
        // A driver may not disable a queue this way, nor enable one that the device already runs (4.1.4.3.2).
        if (value === 1 && (this.status & DeviceStatus.DRIVER_OK) === 0) queue.enabled = true;
        return;
    }
  }

  /** Told when a queue's vector was written. */
  onVectorChanged: ((queue: number) => void) | null = null;

  /** A vector that does not exist reads back as NO_VECTOR: the driver sees that it failed (4.1.5.1.2). */
  #vector(value: number): number {
    return value < this.#owner.vectors ? value : NO_VECTOR;
  }
}

function half(low: number, high: number, select: number): number {
  return select === 0 ? low : select === 1 ? high : 0;
}
