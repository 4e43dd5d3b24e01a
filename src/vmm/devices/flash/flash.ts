/**
 * A bank of parallel NOR flash as firmware keeps its variables in: 8 bits wide, Intel's basic commands.
 *
 * While the bank shows its array, the guest reads it as memory (a read-only memory slot) and only writes arrive here.
 * A command takes the array away (`onArray`): reads then give status, identifiers or the query table, until the
 * command 0xff brings it back. As in the emulation that OVMF's driver is written for, clearing the status also clears
 * "ready" and goes back to the array.
 *
 * Programming changes the bytes in memory at once and the store (a file) in batches: neighbouring bytes of one kind of
 * change, brought to stable storage before the guest can learn that they are done, and before any other change. So
 * after a power cut the store holds every batch but the last, and of the last at worst a part: what a real chip holds
 * when the power fails while it programs, and what firmware's own journal of variables is made for.
 */
import type { DeviceState, RegisterBlock, Stateful } from "../../contract.ts";
import { StateReader } from "../../state.ts";
import {
  BLOCK_BYTES,
  CFI_QUERY_START,
  CfiQuery,
  ERASED,
  FlashCommand,
  FlashStatus,
  IDENTIFIER,
  INTEL_COMMAND_SET,
} from "./bits.ts";

/** Where a bank's content outlives the machine. */
export interface FlashStore {
  /** Writes at an offset and returns when it is on stable storage; false when that failed. */
  write(offset: number, bytes: Uint8Array): boolean;
}

export interface FlashPorts {
  /** What the bank holds; a multiple of 4 KiB. The guest sees this very memory. */
  readonly content: Uint8Array;
  readonly store: FlashStore;
  /** Shows the array to the guest as memory, or takes it away. */
  readonly onArray: (shown: boolean) => void;
}

const STATE_VERSION = 1;
const MODES = ["array", "status", "id", "query"] as const;
type Mode = (typeof MODES)[number];

export class NorFlash implements RegisterBlock, Stateful {
  readonly #content: Uint8Array;
  readonly #store: FlashStore;
  readonly #onArray: (shown: boolean) => void;
  readonly #query: Uint8Array;

  #mode: Mode = "array";
  #status = 0;
  /** The command that waits for its second write cycle; 0 for none. */
  #pending = 0;
  /** The batch that the store does not have yet: [dirtyStart, dirtyEnd), all made by #dirtyBy. */
  #dirtyStart = 0;
  #dirtyEnd = 0;
  #dirtyBy = 0;

  constructor(ports: FlashPorts) {
    this.#content = ports.content;
    this.#store = ports.store;
    this.#onArray = ports.onArray;
    this.#query = queryTable(ports.content.length);
  }

  read(offset: number, size: number): number {
    this.flush();
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 0x100 + this.#readByte(offset + i);
    return value;
  }

  write(offset: number, size: number, value: number): void {
    const command = value & 0xff;
    const pending = this.#pending;
    this.#pending = 0;
    if (pending === FlashCommand.program) this.#program(offset, size, value);
    else if (pending === FlashCommand.blockErase) this.#erase(offset, command);
    else if (pending === FlashCommand.lockSetup) this.#show("status");
    else this.#command(command);
  }

  /** Brings what was programmed to the store. The machine's end is to call it. */
  flush(): void {
    const start = this.#dirtyStart;
    const end = this.#dirtyEnd;
    if (start === end) return;
    this.#dirtyStart = this.#dirtyEnd = 0;
    if (this.#store.write(start, this.#content.subarray(start, end))) return;
    this.#status |=
      this.#dirtyBy === FlashCommand.blockErase ? FlashStatus.eraseError : FlashStatus.programError;
  }

  reset(): void {
    this.flush();
    this.#pending = 0;
    this.#status = 0;
    this.#show("array");
  }

  /** The content is the store's and not part of it. */
  save(): DeviceState {
    this.flush();
    return { version: STATE_VERSION, mode: this.#mode, status: this.#status, pending: this.#pending };
  }

  restore(state: DeviceState): void {
    const from = new StateReader("the flash", state, STATE_VERSION);
    const mode = from.oneOf("mode", MODES);
    this.#status = from.u8("status");
    this.#pending = from.u8("pending");
    this.#show(mode);
  }

  #command(command: number): void {
    switch (command) {
      case FlashCommand.program:
      case FlashCommand.programAlternative:
        this.#pending = FlashCommand.program;
        this.#show("status");
        return;
      case FlashCommand.blockErase:
      case FlashCommand.lockSetup:
        this.#pending = command;
        this.#show("status");
        return;
      case FlashCommand.readStatus:
        this.#show("status");
        return;
      case FlashCommand.readId:
        this.#show("id");
        return;
      case FlashCommand.readQuery:
        this.#show("query");
        return;
      case FlashCommand.clearStatus:
        this.flush();
        this.#status = 0;
        this.#show("array");
        return;
      case FlashCommand.readArray:
      case FlashCommand.readArrayZero:
        this.flush();
        this.#show("array");
        return;
      default:
        // Commands that the chip does not have.
        this.#show("array");
    }
  }

  #program(offset: number, size: number, value: number): void {
    this.#begin(offset, offset + size, FlashCommand.program);
    const content = this.#content;
    // Programming only turns ones into zeroes; the bus keeps accesses inside the bank.
    for (let i = 0; i < size; i++) {
      content[offset + i] = (content[offset + i] as number) & (value >>> (8 * i));
    }
    this.#status |= FlashStatus.ready;
  }

  #erase(offset: number, command: number): void {
    this.#status |= FlashStatus.ready;
    if (command !== FlashCommand.confirm) {
      this.#status |= FlashStatus.eraseError | FlashStatus.programError;
      return;
    }
    const start = offset - (offset % BLOCK_BYTES);
    this.#begin(start, start + BLOCK_BYTES, FlashCommand.blockErase);
    this.#content.fill(ERASED, start, start + BLOCK_BYTES);
  }

  /** Joins a change of [start, end) to the batch when it goes on where that ends; otherwise the batch is finished first. */
  #begin(start: number, end: number, by: number): void {
    const joins = this.#dirtyEnd > this.#dirtyStart && this.#dirtyBy === by && start === this.#dirtyEnd;
    if (joins) {
      this.#dirtyEnd = end;
      return;
    }
    this.flush();
    this.#dirtyStart = start;
    this.#dirtyEnd = end;
    this.#dirtyBy = by;
  }

  #show(mode: Mode): void {
    const was = this.#mode;
    this.#mode = mode;
    if (was === "array" && mode !== "array") this.#onArray(false);
    else if (was !== "array" && mode === "array") {
      this.flush();
      this.#onArray(true);
    }
  }

  #readByte(offset: number): number {
    switch (this.#mode) {
      case "array":
        return this.#content[offset] ?? ERASED;
      case "status":
        return this.#status;
      case "id":
        return IDENTIFIER[offset % BLOCK_BYTES] ?? 0;
      case "query":
        return this.#query[offset - CFI_QUERY_START] ?? 0;
    }
  }
}

function queryTable(sizeBytes: number): Uint8Array {
  return CfiQuery.encode({
    query: "QRY",
    primaryCommandSet: INTEL_COMMAND_SET,
    primaryTable: CFI_QUERY_START + CfiQuery.offset.extended,
    vccMin: 0x45,
    vccMax: 0x55,
    timeouts: [7, 0, 10, 0, 4, 0, 4, 0],
    sizeExponent: Math.ceil(Math.log2(sizeBytes)),
    eraseRegions: 1,
    blocksLessOne: sizeBytes / BLOCK_BYTES - 1,
    blockBytesIn256: BLOCK_BYTES / 256,
    extended: "PRI10",
  });
}
