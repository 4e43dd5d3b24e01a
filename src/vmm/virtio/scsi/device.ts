/**
 * virtio-scsi, the SCSI host device: virtio 1.2, 5.6.
 *
 * A chain of the request queue is a header with an address and a CDB, the room for a response, and data. The target at
 * the address says what becomes of the command: sense data or a few bytes, which are written at once, or a range of the
 * medium, which goes to the backend with the guest's own segments. Task management waits until nothing is at a backend,
 * and meanwhile nothing new is begun: then there is no task left to abort.
 *
 * A reset does not wait: requests in flight become stale and are dropped when the backend is done with them; until then
 * the device is busy.
 */
import type { BlockBackend, DeviceState, SegmentList } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { DeviceType } from "../bits.ts";
import { type Features, features, hasFeature, type VirtioDevice, type VirtioHost } from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { copyOf, dropFront, gather, readRegister, scatter } from "../segments.ts";
import {
  CDB_SIZE,
  ControlType,
  EVENT_PARAM_CHANGE,
  LUN_FLAT,
  LUN_TARGET_FORM,
  NotificationRequest,
  NotificationResponse,
  ScsiCommand,
  ScsiConfig,
  ScsiEvent,
  ScsiFeature,
  ScsiQueue,
  ScsiResponse,
  ScsiResult,
  SENSE_SIZE,
  TaskFunction,
  TaskRequest,
} from "./bits.ts";
import { ScsiReply, type ScsiTarget, Sense } from "./target.ts";

const QUEUE_SIZE = 128;
const EVENT_QUEUE_SIZE = 16;
/** Chains served in one call, so that a driver that keeps adding cannot hold the main thread. */
const CHAINS_PER_CALL = 2 * QUEUE_SIZE;
/** Longest transfer: one call to the kernel moves it. */
const REQUEST_BYTES_MAX = 32 * 1024 * 1024;
const SECTOR_SIZE = 512;
/** Largest CDB and sense buffer that a driver may ask for. */
const FIELD_SIZE_MAX = 255;
const STATE_VERSION = 1;

export interface ScsiOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  /** At most 256; target i has the address i. */
  readonly targets: readonly ScsiTarget[];
}

/** A read at a backend. */
interface Flight {
  readonly epoch: number;
  readonly head: number;
  /** Where the response goes. */
  readonly response: SegmentList;
  readonly length: number;
  readonly residual: number;
}

export class VirtioScsi implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.scsi;
  /** Mass storage, SCSI. */
  readonly classCode = 0x01_00_00;
  readonly features = features(ScsiFeature.CHANGE);
  readonly queueSizes = [QUEUE_SIZE, EVENT_QUEUE_SIZE, QUEUE_SIZE];
  readonly configSize = ScsiConfig.size;
  readonly #memory: GuestMemory;
  readonly #targets: readonly ScsiTarget[];
  readonly #config: Uint8Array<ArrayBuffer>;
  readonly #command = new Uint8Array(ScsiCommand.size + CDB_SIZE);
  readonly #cdb = new DataView(this.#command.buffer, ScsiCommand.size);
  readonly #control = new Uint8Array(TaskRequest.size);
  readonly #response = new Uint8Array(ScsiResponse.size + FIELD_SIZE_MAX);
  readonly #reply = new ScsiReply();
  /** What each target wants to tell a driver that listens; 0: nothing. */
  readonly #events: number[];
  #host: VirtioHost | null = null;
  #queues: readonly (VirtQueue | null)[] = [];
  #listens = false;
  #epoch = 0;
  /** Requests at a backend, and those of them that are this driver's. */
  #flying = 0;
  #ours = 0;
  /** The control queue waits for them. */
  #draining = false;
  #serving = false;

  constructor({ name, memory, targets }: ScsiOptions) {
    this.name = name;
    this.#memory = memory;
    this.#targets = targets;
    this.#events = targets.map(() => 0);
    this.#config = ScsiConfig.encode({
      num_queues: 1,
      seg_max: QUEUE_SIZE - 2,
      max_sectors: REQUEST_BYTES_MAX / SECTOR_SIZE,
      cmd_per_lun: QUEUE_SIZE,
      event_info_size: ScsiEvent.size,
      sense_size: SENSE_SIZE,
      cdb_size: CDB_SIZE,
      max_target: Math.max(0, targets.length - 1),
    });
    targets.forEach((target, i) => {
      target.onEvent = (code) => {
        // A device that waits for a reset has nobody to tell, as after a restore of its state.
        if (!this.#listens || this.#queues[ScsiQueue.event]?.running !== true) return;
        this.#events[i] = code;
        this.#tell();
      };
    });
  }

  get busy(): boolean {
    return this.#flying > 0;
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  configRead(offset: number, size: number): number {
    return readRegister(this.#config, offset, size);
  }

  configWrite(offset: number, size: number, value: number): void {
    const { sense_size, cdb_size } = ScsiConfig.offset;
    if (size !== 4 || (offset !== sense_size && offset !== cdb_size) || value > FIELD_SIZE_MAX) return;
    ScsiConfig.patch(this.#config, 0, offset === cdb_size ? { cdb_size: value } : { sense_size: value });
  }

  activate(queues: readonly (VirtQueue | null)[], driverFeatures: Features): void {
    this.#queues = queues;
    this.#listens = hasFeature(driverFeatures, ScsiFeature.CHANGE);
  }

  reset(): void {
    this.#queues = [];
    this.#listens = this.#draining = false;
    this.#epoch++;
    this.#ours = 0;
    this.#events.fill(0);
    ScsiConfig.patch(this.#config, 0, { sense_size: SENSE_SIZE, cdb_size: CDB_SIZE });
    for (const target of this.#targets) target.reset();
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      senseSize: this.#senseSize,
      cdbSize: this.#cdbSize,
      events: [...this.#events],
      targets: this.#targets.map((target) => target.save()),
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(this.name, state, STATE_VERSION);
    const sense_size = from.integer("senseSize", 0, FIELD_SIZE_MAX);
    const cdb_size = from.integer("cdbSize", 0, FIELD_SIZE_MAX);
    ScsiConfig.patch(this.#config, 0, { sense_size, cdb_size });
    from.integers("events", 0, 0xff_ffff, this.#events.length).forEach((code, i) => {
      this.#events[i] = code;
    });
    from.list("targets", this.#targets.length).forEach((saved, i) => {
      this.#targets[i]?.restore(saved);
    });
  }

  handleQueue(index: number): void {
    const queue = this.#queues[index] ?? null;
    if (queue === null) return;
    if (index === ScsiQueue.event) return void this.#tell();
    // A backend that waits in the kernel lets other threads run meanwhile, which may ring.
    if (this.#serving) {
      this.#host?.defer(index);
      return;
    }
    this.#serving = true;
    if (index === ScsiQueue.control) this.#serveControl(queue);
    else this.#serveRequests(queue);
    this.#serving = false;
  }

  get #senseSize(): number {
    return readRegister(this.#config, ScsiConfig.offset.sense_size, 4);
  }

  get #cdbSize(): number {
    return readRegister(this.#config, ScsiConfig.offset.cdb_size, 4);
  }

  #serveRequests(queue: VirtQueue): void {
    let budget = CHAINS_PER_CALL;
    const backends = new Set<BlockBackend>();
    do {
      queue.suppressNotifications();
      while (budget > 0 && !this.#draining) {
        const head = queue.pop();
        if (head < 0) break;
        this.#request(queue, head, backends);
        if (--budget === 0) this.#host?.defer(ScsiQueue.request);
      }
      for (const backend of backends) backend.submit();
      backends.clear();
      queue.flush();
    } while (budget > 0 && !this.#draining && queue.resumeNotifications());
  }

  #request(queue: VirtQueue, head: number, backends: Set<BlockBackend>): void {
    const { readable, writable } = queue;
    const cdbSize = this.#cdbSize;
    const responseSize = ScsiResponse.size + this.#senseSize;
    if (queue.readableBytes < ScsiCommand.size + cdbSize || queue.writableBytes < responseSize) {
      queue.fail("a SCSI request without room for its header or response");
      return;
    }
    this.#command.fill(0);
    gather(
      this.#memory,
      readable,
      0,
      this.#command.subarray(0, ScsiCommand.size + Math.min(cdbSize, CDB_SIZE)),
    );
    const reply = this.#reply;
    const target = this.#targetAt(this.#command, ScsiCommand.offset.lun);
    if (target === undefined) {
      reply.clear();
      return void this.#answer(queue, head, writable, ScsiResult.BAD_TARGET, 0, 0);
    }
    target.execute(this.#cdb, reply);
    const room = queue.writableBytes - responseSize;
    const { medium, data, offset, length } = reply;
    if (medium === null) {
      const given = data === null ? 0 : Math.min(data.length, room);
      if (data !== null) scatter(this.#memory, writable, responseSize, data.subarray(0, given));
      return void this.#answer(queue, head, writable, ScsiResult.OK, given, room - given);
    }
    if (length > room || length > REQUEST_BYTES_MAX) {
      reply.clear();
      return void this.#answer(queue, head, writable, ScsiResult.OVERRUN, 0, room);
    }
    const response = copyOf(writable);
    dropFront(writable, responseSize);
    cut(writable, length);
    const flight = { epoch: this.#epoch, head, response, length, residual: room - length };
    this.#flying++;
    this.#ours++;
    backends.add(medium);
    medium.read(offset, writable, (result) => this.#landed(flight, result));
  }

  #landed({ epoch, head, response, length, residual }: Flight, result: number): void {
    this.#flying--;
    const queue = this.#queues[ScsiQueue.request];
    if (epoch !== this.#epoch || queue == null) return;
    this.#ours--;
    const reply = this.#reply;
    if (result < 0) reply.fail(Sense.READ_ERROR);
    else reply.clear();
    const given = result < 0 ? 0 : length;
    this.#answer(queue, head, response, ScsiResult.OK, given, residual + length - given);
    if (!this.#serving) this.#host?.defer(ScsiQueue.request);
    if (this.#ours === 0 && this.#draining) this.#host?.defer(ScsiQueue.control);
  }

  /** Writes the response, with status and sense data as in the reply, and returns the chain. */
  #answer(
    queue: VirtQueue,
    head: number,
    list: SegmentList,
    result: number,
    given: number,
    residual: number,
  ): void {
    const { sense, status } = this.#reply;
    const senseSize = this.#senseSize;
    const sense_len = Math.min(sense?.length ?? 0, senseSize);
    const bytes = this.#response.subarray(0, ScsiResponse.size + senseSize);
    bytes.fill(0);
    ScsiResponse.patch(bytes, 0, { sense_len, residual, status, response: result });
    if (sense !== null) bytes.set(sense.subarray(0, sense_len), ScsiResponse.size);
    scatter(this.#memory, list, 0, bytes);
    queue.push(head, bytes.length + given);
  }

  /** The target whose LUN 0 the eight bytes at `at` name. */
  #targetAt(bytes: Uint8Array, at: number): ScsiTarget | undefined {
    const form = bytes[at] === LUN_TARGET_FORM && ((bytes[at + 2] as number) & ~LUN_FLAT) === 0;
    if (!form || bytes[at + 3] !== 0) return undefined;
    return this.#targets[bytes[at + 1] as number];
  }

  #serveControl(queue: VirtQueue): void {
    if (this.#draining) {
      if (this.#ours > 0) return;
      this.#draining = false;
      this.#host?.defer(ScsiQueue.request);
    }
    do {
      queue.suppressNotifications();
      for (let budget = QUEUE_SIZE; ; ) {
        if (this.#ours > 0 && queue.waiting > 0) {
          this.#draining = true;
          break;
        }
        const head = queue.pop();
        if (head < 0) break;
        const size = Math.min(queue.readableBytes, this.#control.length);
        const bytes = this.#control.subarray(0, size);
        gather(this.#memory, queue.readable, 0, bytes);
        const answer = this.#controlAnswer(bytes);
        if (answer === null || queue.writableBytes < answer.length) {
          queue.fail("a SCSI control request of a wrong size");
          break;
        }
        scatter(this.#memory, queue.writable, 0, answer);
        queue.push(head, answer.length);
        if (--budget === 0) {
          queue.flush();
          this.#host?.defer(ScsiQueue.control);
          return;
        }
      }
      queue.flush();
    } while (!this.#draining && queue.resumeNotifications());
  }

  /** Null when the request is shorter than its type's. */
  #controlAnswer(bytes: Uint8Array): Uint8Array | null {
    if (bytes.length < NotificationRequest.size) return null;
    const type = readRegister(bytes, 0, 4);
    if (type !== ControlType.TMF) {
      // No asynchronous notification that a driver could subscribe to is there: none is in effect.
      const known = type === ControlType.AN_QUERY || type === ControlType.AN_SUBSCRIBE;
      const target = known && this.#targetAt(bytes, NotificationRequest.offset.lun);
      const response =
        target === false
          ? ScsiResult.FUNCTION_REJECTED
          : target === undefined
            ? ScsiResult.BAD_TARGET
            : ScsiResult.OK;
      return NotificationResponse.encode({ response });
    }
    if (bytes.length < TaskRequest.size) return null;
    return Uint8Array.of(this.#manageTasks(readRegister(bytes, TaskRequest.offset.subtype, 4), bytes));
  }

  /** There is no task left by now; so aborting and asking are done, and resets remain. */
  #manageTasks(subtype: number, bytes: Uint8Array): number {
    if (subtype > TaskFunction.QUERY_TASK_SET) return ScsiResult.FUNCTION_REJECTED;
    const at = TaskRequest.offset.lun;
    const target = this.#targetAt(bytes, at);
    if (target === undefined) {
      const isTarget = bytes[at] === LUN_TARGET_FORM && (bytes[at + 1] as number) < this.#targets.length;
      return isTarget ? ScsiResult.INCORRECT_LUN : ScsiResult.BAD_TARGET;
    }
    const { LOGICAL_UNIT_RESET, I_T_NEXUS_RESET } = TaskFunction;
    if (subtype === LOGICAL_UNIT_RESET || subtype === I_T_NEXUS_RESET) target.reset();
    return ScsiResult.OK;
  }

  /** Tells what there is to tell, as far as the driver offers buffers. */
  #tell(): void {
    const queue = this.#queues[ScsiQueue.event] ?? null;
    if (queue === null) return;
    for (let i = 0; i < this.#events.length; i++) {
      const code = this.#events[i] as number;
      if (code === 0) continue;
      const head = queue.pop();
      if (head < 0) break;
      this.#events[i] = 0;
      const lun = Uint8Array.of(LUN_TARGET_FORM, i, LUN_FLAT, 0);
      // The additional sense code below its qualifier (5.6.6.3).
      const reason = ((code >>> 8) & 0xff) | ((code & 0xff) << 8);
      const event = ScsiEvent.encode({ event: EVENT_PARAM_CHANGE, lun, reason });
      queue.push(head, scatter(this.#memory, queue.writable, 0, event));
    }
    queue.flush();
  }
}

/** Shortens a list to its first `bytes` bytes. */
function cut(list: SegmentList, bytes: number): void {
  let left = bytes;
  let count = 0;
  for (; left > 0 && count < list.count; count++) {
    const length = Math.min(list.length[count] as number, left);
    list.length[count] = length;
    left -= length;
  }
  list.count = count;
}
