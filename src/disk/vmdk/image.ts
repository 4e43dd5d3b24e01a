/** Reads VMDK images of one file: monolithicSparse and streamOptimized. */
import { ThimbleError } from "../../base/errors.ts";
import { inflate } from "../../base/inflate.ts";
import type { DiskImage, ImageFile } from "../image-file.ts";
import {
  COMPRESSION_DEFLATE,
  ExtentFlag,
  GD_AT_END,
  GRAIN_SECTORS_MAX,
  GRAIN_SECTORS_MIN,
  GrainMarker,
  GTES_PER_GT,
  LINE_ENDS,
  SECTOR,
  SparseExtentHeader,
  VMDK_MAGIC,
} from "./bits.ts";

/** The footer is the last sector but one: the end-of-stream marker follows. */
const FOOTER_FROM_END = 2 * SECTOR;
/** A grain table is 2 KiB; a directory of these makes 32 TiB with usual grains. */
const TABLES_MAX = 1024 * 1024;
const DESCRIPTOR_SECTORS_MAX = 128;
/** zlib (RFC 1950): two bytes before the data. */
const ZLIB_HEADER_BYTES = 2;
/** A grain table entry that says "zeroes" rather than a place. */
const ZEROED_GRAIN = 1;

function badImage(what: string): ThimbleError {
  return new ThimbleError("bad_image", `This is not a VMDK image that can be used: ${what}.`);
}

export class VmdkImage implements DiskImage {
  readonly sizeBytes: number;
  readonly readOnly = true;
  readonly #file: ImageFile;
  readonly #fileBytes: number;
  readonly #grainBytes: number;
  readonly #compressed: boolean;
  readonly #directory: Uint32Array;
  /** The grain table looked into last: images are read from front to end. */
  #table = new DataView(new ArrayBuffer(GTES_PER_GT * 4));
  #tableAt = -1;
  #grain: Uint8Array | null = null;
  #grainAt = -1;

  /** Throws ThimbleError("bad_image"), or what the file throws. */
  constructor(file: ImageFile) {
    this.#file = file;
    this.#fileBytes = file.sizeBytes;
    let header = readHeader(file, 0);
    if (header.gdOffsetLow === GD_AT_END && header.gdOffsetHigh === GD_AT_END) {
      if (this.#fileBytes < 3 * SECTOR) throw badImage("it ends before its footer");
      header = readHeader(file, this.#fileBytes - FOOTER_FROM_END);
    }
    const { capacity, grainSize, flags } = header;
    this.sizeBytes = capacity * SECTOR;
    this.#grainBytes = grainSize * SECTOR;
    this.#compressed = (flags & ExtentFlag.compressedGrains) !== 0;
    const tables = Math.ceil(capacity / (grainSize * GTES_PER_GT));
    if (tables > TABLES_MAX) throw badImage(`a disk of ${capacity} sectors`);
    const bytes = new Uint8Array(tables * 4);
    const offset = (header.gdOffsetHigh * 2 ** 32 + header.gdOffsetLow) * SECTOR;
    if (offset + bytes.length > this.#fileBytes) throw badImage("its grain directory is not inside the file");
    file.readAt(offset, bytes);
    const view = new DataView(bytes.buffer);
    this.#directory = Uint32Array.from({ length: tables }, (_, i) => view.getUint32(4 * i, true));
  }

  readAt(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const inGrain = at % this.#grainBytes;
      const size = Math.min(this.#grainBytes - inGrain, target.length - done);
      this.#readPiece(Math.floor(at / this.#grainBytes), inGrain, target.subarray(done, done + size));
      done += size;
    }
  }

  writeAt(): void {
    throw new ThimbleError("read_only", "VMDK images are only read. Convert the image to qcow2 or raw.");
  }

  discard(): void {
    this.writeAt();
  }

  writeZeroes(): void {
    this.writeAt();
  }

  flush(): void {}

  close(): void {
    this.#file.close();
  }

  #readPiece(grain: number, inGrain: number, target: Uint8Array): void {
    const sector = this.#sectorOf(grain);
    if (sector === 0 || sector === ZEROED_GRAIN) {
      target.fill(0);
    } else if (this.#compressed) {
      target.set(this.#unpacked(grain, sector).subarray(inGrain, inGrain + target.length));
    } else {
      const at = sector * SECTOR + inGrain;
      if (at + target.length > this.#fileBytes) throw badImage(`grain ${grain} is not inside the file`);
      this.#file.readAt(at, target);
    }
  }

  #sectorOf(grain: number): number {
    const tableSector = this.#directory[Math.floor(grain / GTES_PER_GT)] ?? 0;
    if (tableSector === 0) return 0;
    if (tableSector !== this.#tableAt) {
      const at = tableSector * SECTOR;
      if (at + this.#table.byteLength > this.#fileBytes)
        throw badImage("a grain table is not inside the file");
      this.#file.readAt(at, new Uint8Array(this.#table.buffer));
      this.#tableAt = tableSector;
    }
    return this.#table.getUint32(4 * (grain % GTES_PER_GT), true);
  }

  #unpacked(grain: number, sector: number): Uint8Array {
    if (this.#grain !== null && this.#grainAt === grain) return this.#grain;
    const marker = new Uint8Array(GrainMarker.size);
    this.#file.readAt(sector * SECTOR, marker);
    const { lba, size } = GrainMarker.decode(marker);
    const at = sector * SECTOR + GrainMarker.size;
    if (lba * SECTOR !== grain * this.#grainBytes) throw badImage(`the data of grain ${grain} are another's`);
    if (size > 2 * this.#grainBytes || at + size > this.#fileBytes)
      throw badImage(`grain ${grain} is not inside the file`);
    const packed = new Uint8Array(size);
    this.#file.readAt(at, packed);
    const start = grain * this.#grainBytes;
    const target = new Uint8Array(this.#grainBytes);
    const data = packed.subarray(ZLIB_HEADER_BYTES);
    try {
      inflate(data, target);
    } catch (error) {
      // The last grain may be as short as what is left of the disk.
      const left = this.sizeBytes - start;
      if (left >= this.#grainBytes)
        throw new ThimbleError("bad_image", `Grain ${grain} of the VMDK image is damaged.`, { cause: error });
      inflate(data, target.fill(0).subarray(0, left));
    }
    this.#grain = target;
    this.#grainAt = grain;
    return target;
  }
}

function readHeader(file: ImageFile, offset: number): ReturnType<typeof SparseExtentHeader.decode> {
  const bytes = new Uint8Array(SparseExtentHeader.size);
  file.readAt(offset, bytes);
  const header = SparseExtentHeader.decode(bytes);
  const { magicNumber, version, grainSize, numGTEsPerGT, lineEnds, flags, compressAlgorithm } = header;
  if (magicNumber !== VMDK_MAGIC) throw badImage("it does not begin as one");
  if (version < 1 || version > 3) throw badImage(`version ${version} is not known`);
  const isPower = grainSize > 0 && Number.isInteger(Math.log2(grainSize));
  if (!isPower || grainSize < GRAIN_SECTORS_MIN || grainSize > GRAIN_SECTORS_MAX)
    throw badImage(`grains of ${grainSize} sectors`);
  if (numGTEsPerGT !== GTES_PER_GT) throw badImage(`grain tables of ${numGTEsPerGT} entries`);
  if ((flags & ExtentFlag.validNewLine) !== 0 && lineEnds.some((byte, i) => byte !== LINE_ENDS[i]))
    throw badImage("it went through a transfer as text");
  const isPacked = (flags & ExtentFlag.compressedGrains) !== 0;
  if (isPacked && compressAlgorithm !== COMPRESSION_DEFLATE)
    throw badImage("it is compressed otherwise than with deflate");
  if (header.descriptorSize > DESCRIPTOR_SECTORS_MAX) throw badImage("a descriptor of impossible length");
  return header;
}
