/** A request at the backend. A free slot has its fields as they are here, whatever was before. */
export class Slot {
  head = 0;
  statusAddress = 0;
  /** Bytes the used ring reports: data read and the status byte. */
  written = 0;
  /** More is to do at a completion than to return the chain: the fields below count. */
  special = false;
  /** Calls to the backend that have not completed; the first error of them. */
  outstanding = 1;
  error = 0;
  flushAfter = false;
  readonly done: (result: number) => void;

  /** `epoch` is the driver it belongs to. */
  constructor(
    onCompleted: (slot: Slot, result: number) => void,
    readonly epoch: number,
  ) {
    this.done = (result) => onCompleted(this, result);
  }
}
