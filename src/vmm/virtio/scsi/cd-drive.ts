/**
 * A CD/DVD-ROM drive: the commands of SPC-4, SBC-3 and MMC-6 that drivers of removable read-only media use. It holds
 * one medium, a read-only image of 2048-byte blocks, which the host may change and the guest may eject; the guest may
 * lock the tray against both. What the guest does not know yet of the medium is told as a unit attention and in media
 * events.
 */
import { ThimbleError } from "../../../base/errors.ts";
import type { BlockBackend, DeviceState } from "../../contract.ts";
import { StateReader } from "../../state.ts";
import * as data from "./cd-data.ts";
import { Cdb6, Cdb10, Cdb12, Cdb16, CdbAction, CdbInquiry, CdbPage } from "./cdb.ts";
import { type ScsiReply, type ScsiTarget, Sense, senseData } from "./target.ts";

export const CD_BLOCK = 2048;
const STATE_VERSION = 1;

/** SPC-4, SBC-3 and MMC-6. */
export const Operation = {
  TEST_UNIT_READY: 0x00,
  REQUEST_SENSE: 0x03,
  INQUIRY: 0x12,
  MODE_SENSE_6: 0x1a,
  START_STOP_UNIT: 0x1b,
  PREVENT_ALLOW: 0x1e,
  READ_CAPACITY_10: 0x25,
  READ_10: 0x28,
  READ_TOC: 0x43,
  GET_CONFIGURATION: 0x46,
  GET_EVENT_STATUS: 0x4a,
  READ_DISC_INFORMATION: 0x51,
  MODE_SENSE_10: 0x5a,
  READ_16: 0x88,
  SERVICE_ACTION_IN: 0x9e,
  REPORT_LUNS: 0xa0,
  READ_12: 0xa8,
} as const;
const SERVICE_READ_CAPACITY_16 = 0x10;

/** Commands that a pending unit attention does not stop (SPC-4, 5.14; MMC-6, 4.2.6). */
const DESPITE_ATTENTION: readonly number[] = [
  Operation.INQUIRY,
  Operation.REPORT_LUNS,
  Operation.REQUEST_SENSE,
  Operation.GET_CONFIGURATION,
  Operation.GET_EVENT_STATUS,
];

/** Media events (MMC-6, 6.6.2.5). */
const MediaEvent = { NONE: 0, EJECT_REQUEST: 1, NEW_MEDIA: 2, MEDIA_REMOVAL: 3 } as const;

export class CdDrive implements ScsiTarget {
  onEvent: (code: number) => void = () => {};
  /** A sense code the next command is told instead of being carried out; 0: none. */
  #attention: number = Sense.RESET;
  /** Which media event the guest is told when it asks. */
  #event: number = MediaEvent.NONE;
  #trayOpen = false;
  #locked = false;
  #medium: BlockBackend | null;
  readonly #serial: string;

  /** `serial`: printable ASCII, at most 20 characters. */
  constructor(medium: BlockBackend | null, serial: string) {
    this.#medium = medium;
    this.#serial = serial;
  }

  /** Whether the guest holds the tray shut. */
  get locked(): boolean {
    return this.#locked;
  }

  get trayOpen(): boolean {
    return this.#trayOpen;
  }

  /**
   * Puts another medium in, or takes it out (null), and closes the tray; the old one's backend is closed. Throws
   * ThimbleError("medium_locked") when the guest has locked the tray, which it is told then; `force` does it all the same.
   */
  change(medium: BlockBackend | null, force: boolean): void {
    if (this.#locked && !force) {
      this.#event = MediaEvent.EJECT_REQUEST;
      throw new ThimbleError("medium_locked", "The guest has locked the drive; it has been asked to eject.");
    }
    this.#medium?.close();
    this.#medium = medium;
    this.#trayOpen = this.#locked = false;
    this.#event = medium === null ? MediaEvent.MEDIA_REMOVAL : MediaEvent.NEW_MEDIA;
    if (medium !== null) this.#attend(Sense.MEDIUM_CHANGED);
    this.onEvent(Sense.MEDIUM_CHANGED);
  }

  close(): void {
    this.#medium?.close();
    this.#medium = null;
  }

  reset(): void {
    this.#attention = Sense.RESET;
    this.#event = MediaEvent.NONE;
    this.#locked = false;
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      attention: this.#attention,
      event: this.#event,
      trayOpen: this.#trayOpen,
      locked: this.#locked,
    };
  }

  /** With the medium it had. */
  restore(state: DeviceState): void {
    const from = new StateReader("CD drive", state, STATE_VERSION);
    this.#attention = from.integer("attention", 0, 0xff_ffff);
    this.#event = from.integer("event", 0, MediaEvent.MEDIA_REMOVAL);
    this.#trayOpen = from.flag("trayOpen");
    this.#locked = from.flag("locked");
  }

  execute(view: DataView, reply: ScsiReply): void {
    reply.clear();
    const operation = view.getUint8(0);
    if (this.#attention !== 0 && !DESPITE_ATTENTION.includes(operation)) {
      reply.fail(this.#attention);
      this.#attention = 0;
      return;
    }
    const medium = this.#trayOpen ? null : this.#medium;
    switch (operation) {
      case Operation.TEST_UNIT_READY:
        if (medium === null) reply.fail(this.#noMedium());
        return;
      case Operation.REQUEST_SENSE:
        answer(reply, senseData(this.#attention), view.getUint8(Cdb6.offset.length));
        this.#attention = 0;
        return;
      case Operation.INQUIRY:
        return void answerOrRefuse(
          reply,
          data.inquiry(view, this.#serial),
          view.getUint16(CdbInquiry.offset.length),
        );
      case Operation.REPORT_LUNS:
        return void answer(reply, data.reportLuns(), view.getUint32(Cdb12.offset.length));
      case Operation.MODE_SENSE_6:
        return void this.#modeSense(view, false, view.getUint8(Cdb6.offset.length), reply);
      case Operation.MODE_SENSE_10:
        return void this.#modeSense(view, true, view.getUint16(Cdb10.offset.length), reply);
      case Operation.START_STOP_UNIT:
        return void this.#startStop(view.getUint8(CdbAction.offset.action), reply);
      case Operation.PREVENT_ALLOW:
        this.#locked = (view.getUint8(CdbAction.offset.action) & 1) !== 0;
        return;
      case Operation.GET_CONFIGURATION:
        return void answer(
          reply,
          data.configuration(view, medium !== null),
          view.getUint16(Cdb10.offset.length),
        );
      case Operation.GET_EVENT_STATUS:
        return void this.#eventStatus(view, reply);
    }
    // What is left needs a medium, or is unknown.
    if (!NEEDS_MEDIUM.includes(operation)) return void reply.fail(Sense.INVALID_OPERATION);
    if (medium === null) return void reply.fail(this.#noMedium());
    const blocks = Math.floor(medium.sizeBytes / CD_BLOCK);
    switch (operation) {
      case Operation.READ_CAPACITY_10:
        return void answer(reply, data.capacity10(blocks), 8);
      case Operation.SERVICE_ACTION_IN:
        if ((view.getUint8(Cdb10.offset.flags) & 0x1f) !== SERVICE_READ_CAPACITY_16)
          return void reply.fail(Sense.INVALID_FIELD);
        return void answer(reply, data.capacity16(blocks), view.getUint32(Cdb16.offset.length));
      case Operation.READ_TOC:
        return void answerOrRefuse(reply, data.toc(view, blocks), view.getUint16(Cdb10.offset.length));
      case Operation.READ_DISC_INFORMATION:
        return void answerOrRefuse(reply, data.discInformation(view), view.getUint16(Cdb10.offset.length));
      case Operation.READ_10:
        return void read(
          reply,
          medium,
          blocks,
          view.getUint32(Cdb10.offset.lba),
          view.getUint16(Cdb10.offset.length),
        );
      case Operation.READ_12:
        return void read(
          reply,
          medium,
          blocks,
          view.getUint32(Cdb10.offset.lba),
          view.getUint32(Cdb12.offset.length),
        );
      case Operation.READ_16: {
        // Inexact above 2^53, which is beyond any medium all the same.
        const lba = Number(view.getBigUint64(Cdb16.offset.lba));
        return void read(reply, medium, blocks, lba, view.getUint32(Cdb16.offset.length));
      }
    }
  }

  #attend(code: number): void {
    // A reset says more than a change.
    if (this.#attention !== Sense.RESET) this.#attention = code;
  }

  #noMedium(): number {
    return this.#trayOpen ? Sense.NO_MEDIUM_TRAY_OPEN : Sense.NO_MEDIUM_TRAY_CLOSED;
  }

  #modeSense(view: DataView, long: boolean, length: number, reply: ScsiReply): void {
    const control = view.getUint8(CdbPage.offset.page) >>> 6;
    if (control === 3) return void reply.fail(Sense.SAVING_UNSUPPORTED);
    answerOrRefuse(
      reply,
      data.modePages(view.getUint8(CdbPage.offset.page) & 0x3f, control === 1, long, this.#locked),
      length,
    );
  }

  /** MMC-6, 6.42: LOEJ with START loads, without it ejects. */
  #startStop(flags: number, reply: ScsiReply): void {
    if ((flags & 0xf0) !== 0 || (flags & 2) === 0) return;
    const opens = (flags & 1) === 0;
    if (opens && this.#locked) return void reply.fail(Sense.REMOVAL_PREVENTED);
    if (opens === this.#trayOpen) return;
    this.#trayOpen = opens;
    if (this.#medium === null) return;
    this.#event = opens ? MediaEvent.MEDIA_REMOVAL : MediaEvent.NEW_MEDIA;
    if (!opens) this.#attend(Sense.MEDIUM_CHANGED);
  }

  #eventStatus(view: DataView, reply: ScsiReply): void {
    // Only polling (MMC-6, 6.6.1).
    if ((view.getUint8(Cdb10.offset.flags) & 1) === 0) return void reply.fail(Sense.INVALID_FIELD);
    const present = this.#medium !== null && !this.#trayOpen;
    const asked = data.asksForMedia(view);
    const length = view.getUint16(Cdb10.offset.length);
    answer(reply, data.mediaEvent(asked, this.#event, this.#trayOpen, present), length);
    // Told only when the answer was long enough to hold it.
    if (asked && length > data.EVENT_HEADER_BYTES) this.#event = MediaEvent.NONE;
  }
}

const NEEDS_MEDIUM: readonly number[] = [
  Operation.READ_CAPACITY_10,
  Operation.SERVICE_ACTION_IN,
  Operation.READ_TOC,
  Operation.READ_DISC_INFORMATION,
  Operation.READ_10,
  Operation.READ_12,
  Operation.READ_16,
];

function answer(reply: ScsiReply, bytes: Uint8Array<ArrayBuffer>, allocation: number): void {
  reply.data = allocation < bytes.length ? bytes.subarray(0, allocation) : bytes;
}

function answerOrRefuse(reply: ScsiReply, bytes: Uint8Array<ArrayBuffer> | null, allocation: number): void {
  if (bytes === null) reply.fail(Sense.INVALID_FIELD);
  else answer(reply, bytes, allocation);
}

function read(reply: ScsiReply, medium: BlockBackend, blocks: number, lba: number, count: number): void {
  if (lba + count > blocks) return void reply.fail(Sense.OUT_OF_RANGE);
  if (count === 0) return;
  reply.medium = medium;
  reply.offset = lba * CD_BLOCK;
  reply.length = count * CD_BLOCK;
}
