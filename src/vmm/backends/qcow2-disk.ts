/**
 * A disk in a qcow2 image. The library (src/disk) says where data are; what lies in one piece moves straight between the
 * file and guest memory, as with raw images. Whatever changes the image's tables is the library's own work, done alone:
 * nothing else is in flight meanwhile, and what comes waits in order.
 */
import { ThimbleError } from "../../base/errors.ts";
import type { DiskImage } from "../../disk/image-file.ts";
import type { Place, Qcow2Image } from "../../disk/qcow2/image.ts";
import { EIO, SystemError } from "../../sys/errno.ts";
import type { BlockBackend, BlockCompletion, SegmentList } from "../contract.ts";
import { createSegmentList, type GuestMemory } from "../memory/guest-memory.ts";
import { bytesOf, copyOf, gather, scatter, walk } from "../virtio/segments.ts";
import type { DiskFile } from "./disk-file.ts";

/** What the library reads or writes at once. */
const PIECE_BYTES = 1024 * 1024;
/** Segments of one request, as many as a virtio-blk chain has. */
const SEGMENTS_MAX = 256;

/** A request that waits for its turn. */
interface Waiting {
  readonly alone: boolean;
  readonly work: () => void;
}

export interface Qcow2DiskOptions {
  readonly image: Qcow2Image;
  /** The image's file, for data. */
  readonly file: DiskFile;
  /** What the image is based on, as the library sees it. */
  readonly backing: DiskImage | null;
  readonly memory: GuestMemory;
  /** Told what is wrong with the image, once. */
  readonly log: (message: string) => void;
}

export class Qcow2Disk implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly blockSizeBytes: number;
  readonly #image: Qcow2Image;
  readonly #file: DiskFile;
  readonly #backing: DiskImage | null;
  readonly #memory: GuestMemory;
  readonly #log: (message: string) => void;
  readonly #waiting: Waiting[] = [];
  /** What is beyond reads as zeroes, which only the library knows: others may end a file in the middle of a cluster. */
  readonly #dataEnd: number;
  /** The library is at work, or requests are being begun: nobody else may. */
  #busy = false;
  #told = false;
  readonly #place: Place = { kind: "other", fileOffset: 0, length: 0 };
  #part: SegmentList = createSegmentList(SEGMENTS_MAX);

  constructor({ image, file, backing, memory, log }: Qcow2DiskOptions) {
    this.#image = image;
    this.#file = file;
    this.#backing = backing;
    this.#memory = memory;
    this.#log = log;
    this.#dataEnd = image.readOnly ? file.sizeBytes : Number.POSITIVE_INFINITY;
    this.readOnly = image.readOnly;
    this.blockSizeBytes = file.blockSizeBytes;
    this.sizeBytes = image.sizeBytes - (image.sizeBytes % this.blockSizeBytes);
  }

  read(offset: number, segments: SegmentList, done: BlockCompletion): void {
    if (this.#mayBegin) this.#together(() => this.#read(offset, segments, done), done);
    else {
      const list = copyOf(segments);
      this.#wait(false, () => this.#together(() => this.#read(offset, list, done), done));
    }
  }

  write(offset: number, segments: SegmentList, done: BlockCompletion): void {
    if (this.#mayBegin) this.#together(() => this.#write(offset, segments, done), done);
    else {
      const list = copyOf(segments);
      this.#wait(false, () => this.#together(() => this.#write(offset, list, done), done));
    }
  }

  flush(done: BlockCompletion): void {
    this.#alone(() => this.#image.flush(), done);
  }

  discard(offset: number, length: number, done: BlockCompletion): void {
    this.#alone(() => this.#image.discard(offset, length), done);
  }

  writeZeroes(offset: number, length: number, _mayUnmap: boolean, done: BlockCompletion): void {
    this.#alone(() => this.#image.writeZeroes(offset, length), done);
  }

  submit(): void {
    this.#file.submit();
  }

  close(): void {
    this.#image.close();
    this.#file.close();
  }

  get #mayBegin(): boolean {
    return !this.#busy && this.#waiting.length === 0;
  }

  /** Begins a request that may be in flight beside others. */
  #together(begin: () => void, done: BlockCompletion): void {
    this.#busy = true;
    try {
      begin();
    } catch (error) {
      done(this.#errorOf(error));
    } finally {
      this.#busy = false;
    }
    this.#next();
  }

  /** Does what changes the image when nothing is in flight. */
  #alone(work: () => void, done: BlockCompletion): void {
    this.#wait(true, () => {
      this.#busy = true;
      let result = 0;
      try {
        work();
      } catch (error) {
        result = this.#errorOf(error);
      }
      this.#busy = false;
      done(result);
    });
    this.#next();
  }

  #wait(alone: boolean, work: () => void): void {
    this.#waiting.push({ alone, work });
  }

  /** Goes on with what waits, as far as it may. */
  #next(): void {
    while (!this.#busy) {
      const [first] = this.#waiting;
      if (first === undefined || (first.alone && this.#file.inFlight > 0)) return;
      this.#waiting.shift();
      first.work();
    }
  }

  #read(offset: number, segments: SegmentList, done: BlockCompletion): void {
    const total = bytesOf(segments);
    const parts = new Parts(this.#whenDone(done));
    for (let at = 0; at < total; ) {
      const place = this.#place;
      this.#image.locate(offset + at, total - at, false, place);
      const { kind, length, fileOffset } = place;
      if (kind === "data" && fileOffset + length <= this.#dataEnd) {
        this.#file.transfer(false, fileOffset, this.#slice(segments, at, length), parts.begin());
      } else if (kind === "zeroes") {
        walk(this.#memory, segments, at, length, (bytes) => bytes.fill(0));
      } else if (kind === "backing") {
        this.#readBy(this.#backing as DiskImage, offset + at, segments, at, length);
      } else {
        this.#readBy(this.#image, offset + at, segments, at, length);
      }
      at += length;
    }
    parts.end();
  }

  #write(offset: number, segments: SegmentList, done: BlockCompletion): void {
    const total = bytesOf(segments);
    const place = this.#place;
    this.#image.locate(offset, total, true, place);
    if (place.kind === "data" && place.length === total) {
      this.#image.beginWriting();
      this.#file.transfer(true, place.fileOffset, segments, this.#whenDone(done));
      return;
    }
    const list = copyOf(segments);
    this.#wait(true, () => {
      this.#busy = true;
      let result = 0;
      try {
        for (let at = 0; at < total; at += PIECE_BYTES) {
          const bytes = new Uint8Array(Math.min(PIECE_BYTES, total - at));
          gather(this.#memory, list, at, bytes);
          this.#image.writeAt(offset + at, bytes);
        }
      } catch (error) {
        result = this.#errorOf(error);
      }
      this.#busy = false;
      done(result);
    });
  }

  /** Reads through the library, or from what the image is based on; zeroes beyond the end of that. */
  #readBy(from: DiskImage, offset: number, segments: SegmentList, skip: number, length: number): void {
    for (let at = 0; at < length; at += PIECE_BYTES) {
      const bytes = new Uint8Array(Math.min(PIECE_BYTES, length - at));
      const there = Math.min(bytes.length, Math.max(0, from.sizeBytes - (offset + at)));
      if (there > 0) from.readAt(offset + at, bytes.subarray(0, there));
      scatter(this.#memory, segments, skip + at, bytes);
    }
  }

  /** `length` bytes of a list from `skip` on, in a list that is used again. */
  #slice(segments: SegmentList, skip: number, length: number): SegmentList {
    if (this.#part.address.length < segments.count) this.#part = createSegmentList(segments.count);
    const part = this.#part;
    let rest = length;
    let before = skip;
    part.count = 0;
    for (let i = 0; i < segments.count && rest > 0; i++) {
      const size = segments.length[i] as number;
      if (before < size) {
        part.address[part.count] = (segments.address[i] as number) + before;
        const used = Math.min(size - before, rest);
        part.length[part.count++] = used;
        rest -= used;
        before = 0;
      } else {
        before -= size;
      }
    }
    return part;
  }

  /** What a transfer's completion does beside telling the guest: what waits for it may go on. */
  #whenDone(done: BlockCompletion): BlockCompletion {
    if (!this.#file.isAsynchronous) return done;
    return (result) => {
      done(result);
      this.#next();
    };
  }

  #errorOf(error: unknown): number {
    if (error instanceof SystemError) return -error.errno;
    if (!(error instanceof ThimbleError)) throw error;
    if (!this.#told) this.#log(error.message);
    this.#told = true;
    return -EIO;
  }
}

/** Several transfers that are one request: completed when the last is, with the first error. */
class Parts {
  #outstanding = 1;
  #error = 0;
  readonly #done: BlockCompletion;

  constructor(done: BlockCompletion) {
    this.#done = done;
  }

  begin(): BlockCompletion {
    this.#outstanding++;
    return this.#completed;
  }

  /** No more parts. */
  end(): void {
    this.#completed(0);
  }

  readonly #completed = (result: number): void => {
    if (result < 0 && this.#error === 0) this.#error = result;
    if (--this.#outstanding === 0) this.#done(this.#error);
  };
}
