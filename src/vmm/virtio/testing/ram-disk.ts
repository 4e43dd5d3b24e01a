/** A block backend in memory whose completions a test holds back and releases in any order. */
import type { BlockBackend, BlockCompletion, SegmentList } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { bytesOf, copyOf, walk } from "../segments.ts";

export class RamDisk implements BlockBackend {
  readOnly = false;
  blockSizeBytes = 512;
  /** When true, requests are carried out and completed only by `complete`. */
  holding = false;
  /** Calls in order, e.g. "write 512+1024". */
  readonly calls: string[] = [];
  readonly held: (() => void)[] = [];
  /** The result of calls whose name starts with the key, e.g. { flush: -5 }. */
  failures: Record<string, number> = {};

  constructor(
    readonly memory: GuestMemory,
    readonly sizeBytes: number,
    readonly data: Uint8Array = new Uint8Array(sizeBytes),
  ) {}

  read(offset: number, segments: SegmentList, done: BlockCompletion): void {
    const list = copyOf(segments);
    this.#do(`read ${offset}+${bytesOf(list)}`, done, () => {
      walk(this.memory, list, 0, this.sizeBytes, (piece, at) => {
        piece.set(this.data.subarray(offset + at, offset + at + piece.length));
      });
    });
  }

  write(offset: number, segments: SegmentList, done: BlockCompletion): void {
    const list = copyOf(segments);
    this.#do(`write ${offset}+${bytesOf(list)}`, done, () => {
      walk(this.memory, list, 0, this.sizeBytes, (piece, at) => this.data.set(piece, offset + at));
    });
  }

  flush(done: BlockCompletion): void {
    this.#do("flush", done, () => {});
  }

  discard(offset: number, length: number, done: BlockCompletion): void {
    this.#do(`discard ${offset}+${length}`, done, () => {});
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean, done: BlockCompletion): void {
    this.#do(`writeZeroes ${offset}+${length}${mayUnmap ? " unmap" : ""}`, done, () => {
      this.data.fill(0, offset, offset + length);
    });
  }

  submit(): void {}

  close(): void {}

  /** Carries out and completes the request held at `index`. */
  complete(index = 0): void {
    this.held.splice(index, 1)[0]?.();
  }

  #do(call: string, done: BlockCompletion, action: () => void): void {
    this.calls.push(call);
    const failure = this.failures[call.split(" ")[0] as string];
    const finish = () => {
      if (failure === undefined) action();
      done(failure ?? 0);
    };
    if (this.holding) this.held.push(finish);
    else finish();
  }
}
