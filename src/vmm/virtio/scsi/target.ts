/** What stands behind an address of the SCSI host device: today CD drives, disks one day. */
import type { BlockBackend, DeviceState } from "../../contract.ts";

/** SAM-5, 5.3. */
export const ScsiStatus = { GOOD: 0, CHECK_CONDITION: 2 } as const;

/** What became of a command; one object is used again and again. */
export class ScsiReply {
  status = 0;
  /** Fixed-format sense data, with CHECK_CONDITION. */
  sense: Uint8Array<ArrayBuffer> | null = null;
  /** What goes to the initiator, cut to the allocation length. */
  data: Uint8Array<ArrayBuffer> | null = null;
  /** Or: bytes of the medium, read from it into the initiator's buffer. */
  medium: BlockBackend | null = null;
  offset = 0;
  length = 0;

  clear(): void {
    this.status = ScsiStatus.GOOD;
    this.sense = this.data = null;
    this.medium = null;
    this.offset = this.length = 0;
  }

  /** `code` is one of `Sense`. */
  fail(code: number): void {
    this.clear();
    this.status = ScsiStatus.CHECK_CONDITION;
    this.sense = senseData(code);
  }
}

/** A logical unit 0; others a target has not. */
export interface ScsiTarget {
  /** Carries a command out, or says how to. Never throws; `cdb` has CDB_SIZE bytes. */
  execute(cdb: DataView, reply: ScsiReply): void;
  /** A reset of the unit: it says so at the next command. */
  reset(): void;
  /** To be called when the unit has something to say to a driver that listens: `code` as in `Sense`. */
  onEvent: (code: number) => void;
  save(): DeviceState;
  restore(state: DeviceState): void;
}

/** Sense key, additional sense code and its qualifier as 0xKKAAQQ (SPC-4, 4.5; MMC-6, annex F). */
export const Sense = {
  NONE: 0,
  NO_MEDIUM_TRAY_CLOSED: 0x02_3a_01,
  NO_MEDIUM_TRAY_OPEN: 0x02_3a_02,
  READ_ERROR: 0x03_11_00,
  INVALID_OPERATION: 0x05_20_00,
  OUT_OF_RANGE: 0x05_21_00,
  INVALID_FIELD: 0x05_24_00,
  SAVING_UNSUPPORTED: 0x05_39_00,
  REMOVAL_PREVENTED: 0x05_53_02,
  MEDIUM_CHANGED: 0x06_28_00,
  RESET: 0x06_29_00,
} as const;

const SENSE_BYTES = 18;

/** Fixed-format sense data (SPC-4, 4.5.3). */
export function senseData(code: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(SENSE_BYTES);
  out[0] = 0x70;
  out[2] = code >>> 16;
  out[7] = SENSE_BYTES - 8;
  out[12] = (code >>> 8) & 0xff;
  out[13] = code & 0xff;
  return out;
}
