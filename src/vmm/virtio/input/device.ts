/**
 * virtio-input: a keyboard or a tablet. virtio 1.2, 5.8.
 *
 * The device knows two states of its keys, buttons and axes: as they are now, and as the driver will have them once it
 * has read the events that wait for buffers. What differs becomes one report, closed by SYN_REPORT. A report that finds
 * no room is not queued at all; the difference is still there when the driver has read what waits, and is then reported.
 * So a guest that does not listen may miss that a key was pressed and let go, but never sees one that stays down.
 */
import type { DeviceState } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { DeviceType } from "../bits.ts";
import { type Features, NO_FEATURES, type VirtioDevice, type VirtioHost } from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { gather, readRegister, scatter } from "../segments.ts";
import {
  Axis,
  EventType,
  InputConfig,
  InputEvent,
  InputQueue,
  LED_COUNT,
  REL_WHEEL,
  SYN_REPORT,
} from "./bits.ts";
import { AXIS_MAX, describe, hasKey, type InputKind } from "./kinds.ts";

/** As many buffers as drivers have. */
const QUEUE_SIZE = 64;
/** Events that wait for buffers: some sixty keys typed ahead. More than a report that changes every key. */
const PENDING_MAX = 256;
/** Status events taken in one call. */
const CHAINS_PER_CALL = 2 * QUEUE_SIZE;
const STATE_VERSION = 1;
/** An axis of which the driver has not been told. */
const NOWHERE = -1;

export interface InputOptions {
  /** For logs. */
  readonly name: string;
  readonly memory: GuestMemory;
  readonly kind: InputKind;
}

export class VirtioInput implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.input;
  readonly classCode: number;
  readonly features = NO_FEATURES;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly configSize = InputConfig.size;
  readonly busy = false;
  readonly #memory: GuestMemory;
  readonly #kind: InputKind;
  readonly #config = new Uint8Array(InputConfig.size);
  readonly #event = new Uint8Array(InputEvent.size);
  readonly #eventView = new DataView(this.#event.buffer);
  /** Keys, then the two axes: as they are, and as the driver will have them. */
  readonly #now: Int32Array;
  readonly #told: Int32Array;
  /** A ring of events: type << 16 | code, and value. */
  readonly #pendingCode = new Int32Array(PENDING_MAX);
  readonly #pendingValue = new Int32Array(PENDING_MAX);
  #first = 0;
  #count = 0;
  #leds = 0;
  #host: VirtioHost | null = null;
  #events: VirtQueue | null = null;
  #status: VirtQueue | null = null;

  constructor(options: InputOptions) {
    const { name, memory, kind } = options;
    this.name = name;
    this.classCode = kind.classCode;
    this.#memory = memory;
    this.#kind = kind;
    this.#now = new Int32Array(kind.keyCount + 2);
    this.#told = new Int32Array(kind.keyCount + 2);
    this.#forget();
  }

  /** A driver takes events. */
  get running(): boolean {
    return this.#events?.running ?? false;
  }

  /** Events that the driver has not taken yet. */
  get pending(): number {
    return this.#count;
  }

  /** The keyboard's lamps as the driver set them: bit 0 Num Lock, bit 1 Caps Lock, bit 2 Scroll Lock. */
  get leds(): number {
    return this.#leds;
  }

  /** A key or button (KEY_*, BTN_*) is down or up. Ignored for those that the device lacks, and without a driver. */
  key(code: number, down: boolean): void {
    if (!this.running || !hasKey(this.#kind, code)) return;
    this.#now[code - this.#kind.firstKey] = down ? 1 : 0;
    this.#report(0);
  }

  /** Where a tablet's pointer is, and its buttons: see InputSink. */
  pointer(x: number, y: number, buttons: number, wheel: number): void {
    if (!this.running || !this.#kind.pointer) return;
    const now = this.#now;
    // Viewers count left, middle, right; the codes left, right, middle.
    now[0] = buttons & 1;
    now[1] = (buttons >> 2) & 1;
    now[2] = (buttons >> 1) & 1;
    const axes = this.#kind.keyCount;
    now[axes + Axis.x] = x;
    now[axes + Axis.y] = y;
    this.#report(wheel);
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  configRead(offset: number, size: number): number {
    return readRegister(this.#config, offset, size);
  }

  configWrite(offset: number, size: number, value: number): void {
    const config = this.#config;
    const { select, subsel } = InputConfig.offset;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      if (at === select || at === subsel) config[at] = value >>> (8 * i);
    }
    if (offset > subsel) return;
    const answer = describe(this.#kind, config[select] as number, config[subsel] as number);
    config.fill(0, InputConfig.offset.size);
    config[InputConfig.offset.size] = answer.length;
    config.set(answer, InputConfig.offset.u);
  }

  activate(queues: readonly (VirtQueue | null)[], _driverFeatures: Features): void {
    this.#events = queues[InputQueue.event] ?? null;
    this.#status = queues[InputQueue.status] ?? null;
  }

  handleQueue(index: number): void {
    if (index === InputQueue.event) this.#deliver();
    else if (index === InputQueue.status) this.#takeStatus();
  }

  reset(): void {
    this.#events = this.#status = null;
    this.#forget();
  }

  save(): DeviceState {
    const events: number[] = [];
    for (let i = 0; i < this.#count; i++) {
      const at = (this.#first + i) % PENDING_MAX;
      events.push(this.#pendingCode[at] as number, this.#pendingValue[at] as number);
    }
    return {
      version: STATE_VERSION,
      select: this.#config[InputConfig.offset.select],
      subsel: this.#config[InputConfig.offset.subsel],
      leds: this.#leds,
      now: Array.from(this.#now),
      told: Array.from(this.#told),
      events,
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(this.name, state, STATE_VERSION);
    const select = from.u8("select");
    const subsel = from.u8("subsel");
    const leds = from.integer("leds", 0, (1 << LED_COUNT) - 1);
    const now = from.integers("now", NOWHERE, AXIS_MAX, this.#now.length);
    const told = from.integers("told", NOWHERE, AXIS_MAX, this.#told.length);
    const events = from.integers("events", -(2 ** 31), 2 ** 31 - 1, 2 * PENDING_MAX);
    this.#forget();
    this.#leds = leds;
    this.#now.set(now);
    this.#told.set(told);
    this.configWrite(InputConfig.offset.select, 2, select | (subsel << 8));
    for (let i = 0; i + 1 < events.length; i += 2) this.#queue(events[i] as number, events[i + 1] as number);
  }

  #forget(): void {
    this.#first = this.#count = this.#leds = 0;
    for (const state of [this.#now, this.#told]) state.fill(0).fill(NOWHERE, this.#kind.keyCount);
  }

  #report(wheel: number): void {
    this.#collect(wheel);
    this.#deliver();
  }

  /** Queues a report of what the driver does not know yet. False when there is nothing, or no room for it. */
  #collect(wheel: number): boolean {
    const now = this.#now;
    const told = this.#told;
    const { keyCount, firstKey } = this.#kind;
    let changes = wheel === 0 ? 0 : 1;
    for (let i = 0; i < now.length; i++) if (now[i] !== told[i]) changes++;
    if (changes === 0 || this.#count + changes + 1 > PENDING_MAX) return false;
    // The axes first: a button is pressed where the pointer has come to.
    for (let i = now.length - 1; i >= 0; i--) {
      const value = now[i] as number;
      if (value === told[i]) continue;
      told[i] = value;
      if (i < keyCount) this.#queue((EventType.KEY << 16) | (firstKey + i), value);
      else this.#queue((EventType.ABS << 16) | (i - keyCount), value);
    }
    if (wheel !== 0) this.#queue((EventType.REL << 16) | REL_WHEEL, wheel);
    this.#queue((EventType.SYN << 16) | SYN_REPORT, 0);
    return true;
  }

  #queue(code: number, value: number): void {
    const at = (this.#first + this.#count++) % PENDING_MAX;
    this.#pendingCode[at] = code;
    this.#pendingValue[at] = value;
  }

  /** Gives the driver events, one a buffer, as far as there are buffers. */
  #deliver(): void {
    const queue = this.#events;
    if (queue === null) return;
    const event = this.#eventView;
    while (this.#count > 0 || this.#collect(0)) {
      const head = queue.pop();
      if (head < 0) {
        if (queue.resumeNotifications()) continue;
        break;
      }
      const code = this.#pendingCode[this.#first] as number;
      event.setUint16(InputEvent.offset.type, code >>> 16, true);
      event.setUint16(InputEvent.offset.code, code & 0xffff, true);
      event.setInt32(InputEvent.offset.value, this.#pendingValue[this.#first] as number, true);
      this.#first = (this.#first + 1) % PENDING_MAX;
      this.#count--;
      queue.push(head, scatter(this.#memory, queue.writable, 0, this.#event));
    }
    // Buffers are of interest only while events wait for them.
    if (this.#count === 0) queue.suppressNotifications();
    queue.flush();
  }

  #takeStatus(): void {
    const queue = this.#status;
    if (queue === null) return;
    const event = this.#eventView;
    let budget = CHAINS_PER_CALL;
    do {
      for (let head = queue.pop(); head >= 0; head = queue.pop()) {
        const size = gather(this.#memory, queue.readable, 0, this.#event);
        if (size === InputEvent.size) this.#setLed(event);
        queue.push(head, 0);
        if (--budget === 0) {
          queue.flush();
          this.#host?.defer(InputQueue.status);
          return;
        }
      }
      queue.flush();
    } while (queue.resumeNotifications());
  }

  #setLed(event: DataView): void {
    const code = event.getUint16(InputEvent.offset.code, true);
    if (event.getUint16(InputEvent.offset.type, true) !== EventType.LED || code >= LED_COUNT) return;
    if (event.getInt32(InputEvent.offset.value, true) === 0) this.#leds &= ~(1 << code);
    else this.#leds |= 1 << code;
  }
}
