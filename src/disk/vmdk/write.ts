/** Makes VMDK images in one go: streamOptimized (compressed, for transport) and monolithicSparse. */
import { Deflater, deflatedMax, ZLIB_HEADER } from "../../base/deflate.ts";
import { isZero } from "../copy.ts";
import type { DiskImage, ImageFile } from "../image-file.ts";
import {
  COMPRESSION_DEFLATE,
  ExtentFlag,
  GD_AT_END,
  GRAIN_SECTORS,
  GrainMarker,
  GTES_PER_GT,
  LINE_ENDS,
  MarkerType,
  MetadataMarker,
  SECTOR,
  SparseExtentHeader,
  VMDK_MAGIC,
} from "./bits.ts";

const GRAIN_BYTES = GRAIN_SECTORS * SECTOR;
const TABLE_SECTORS = (GTES_PER_GT * 4) / SECTOR;
const DESCRIPTOR_SECTORS = 20;
/** Sectors before the first grain of a stream: header and descriptor, rounded to a grain. */
const STREAM_OVERHEAD = 128;
const HEADS = 255;
const SECTORS_PER_TRACK = 63;
/** RFC 1950: an empty last block, after what a Deflater leaves open. */
const LAST_BLOCK = Uint8Array.of(1, 0, 0, 0xff, 0xff);
const ADLER_PRIME = 65_521;
/** Bytes that may be summed before the sums have to be reduced. */
const ADLER_RUN = 5552;

export type VmdkKind = "streamOptimized" | "monolithicSparse";

/**
 * Writes an image of the source into an empty file. `onProgress` gets the bytes of the source that are done. `contentId`
 * is a number of 32 bits that tells versions of an image apart.
 */
export function writeVmdk(
  source: DiskImage,
  file: ImageFile,
  kind: VmdkKind,
  contentId: number,
  onProgress: (doneBytes: number) => void,
): void {
  new Writer(source, file, kind, contentId, onProgress).write();
}

class Writer {
  readonly #tables: (Uint32Array | null)[];
  readonly #capacity: number;
  readonly #isStream: boolean;
  readonly #deflater = new Deflater();
  readonly #packed = new Uint8Array(GrainMarker.size + deflatedMax(GRAIN_BYTES) + 64);
  /** The next free sector of the file. */
  #sector: number;

  constructor(
    private readonly source: DiskImage,
    private readonly file: ImageFile,
    private readonly kind: VmdkKind,
    private readonly contentId: number,
    private readonly onProgress: (doneBytes: number) => void,
  ) {
    this.#capacity = Math.ceil(source.sizeBytes / SECTOR);
    this.#tables = new Array(Math.ceil(this.#capacity / (GRAIN_SECTORS * GTES_PER_GT))).fill(null);
    this.#isStream = kind === "streamOptimized";
    this.#sector = this.#isStream ? STREAM_OVERHEAD : this.#sparseOverhead;
  }

  write(): void {
    this.file.truncate(0);
    if (this.#isStream) this.#writeStart(GD_AT_END, GD_AT_END);
    const grain = new Uint8Array(GRAIN_BYTES);
    for (let at = 0, index = 0; at < this.source.sizeBytes; at += GRAIN_BYTES, index++) {
      const size = Math.min(GRAIN_BYTES, this.source.sizeBytes - at);
      this.source.readAt(at, grain.subarray(0, size));
      grain.fill(0, size);
      if (!isZero(grain, 0, GRAIN_BYTES)) this.#place(index, grain);
      this.onProgress(at + size);
    }
    if (this.#isStream) this.#endStream();
    else this.#endSparse();
    this.file.flush();
  }

  /** Header, descriptor, two copies of the directory and the tables stand before the grains of a sparse image. */
  get #sparseOverhead(): number {
    const sectors =
      1 + DESCRIPTOR_SECTORS + 2 * (this.#directorySectors + this.#tables.length * TABLE_SECTORS);
    return Math.ceil(sectors / GRAIN_SECTORS) * GRAIN_SECTORS;
  }

  get #directorySectors(): number {
    return Math.ceil((this.#tables.length * 4) / SECTOR);
  }

  #place(index: number, grain: Uint8Array): void {
    const number = Math.floor(index / GTES_PER_GT);
    const table = this.#tables[number] ?? new Uint32Array(GTES_PER_GT);
    this.#tables[number] = table;
    table[index % GTES_PER_GT] = this.#sector;
    if (!this.#isStream) {
      this.#append(grain);
      return;
    }
    const out = this.#packed.fill(0);
    out.set(ZLIB_HEADER, GrainMarker.size);
    let end = this.#deflater.deflate(grain, GRAIN_BYTES, out, GrainMarker.size + ZLIB_HEADER.length);
    out.set(LAST_BLOCK, end);
    end += LAST_BLOCK.length;
    new DataView(out.buffer).setUint32(end, adler32(grain));
    end += 4;
    GrainMarker.patch(out, 0, { lba: index * GRAIN_SECTORS, size: end - GrainMarker.size });
    this.#append(out.subarray(0, Math.ceil(end / SECTOR) * SECTOR));
  }

  /** Writes whole sectors at the end. Returns the first one's number. */
  #append(bytes: Uint8Array): number {
    const sector = this.#sector;
    this.file.writeAt(sector * SECTOR, bytes);
    this.#sector += bytes.length / SECTOR;
    return sector;
  }

  #marker(type: number, sectors: number): void {
    const bytes = new Uint8Array(SECTOR);
    MetadataMarker.patch(bytes, 0, { val: sectors, type });
    this.#append(bytes);
  }

  #endStream(): void {
    const directory = new Uint32Array((this.#directorySectors * SECTOR) / 4);
    this.#tables.forEach((table, i) => {
      if (table === null) return;
      this.#marker(MarkerType.grainTable, TABLE_SECTORS);
      directory[i] = this.#append(littleEndian(table));
    });
    this.#marker(MarkerType.grainDirectory, this.#directorySectors);
    const at = this.#append(littleEndian(directory));
    this.#marker(MarkerType.footer, 1);
    this.#append(this.#header(at % 2 ** 32, Math.floor(at / 2 ** 32)));
    this.#marker(MarkerType.endOfStream, 0);
  }

  #endSparse(): void {
    const redundantAt = 1 + DESCRIPTOR_SECTORS;
    const copySectors = this.#directorySectors + this.#tables.length * TABLE_SECTORS;
    for (const start of [redundantAt, redundantAt + copySectors]) {
      const directory = new Uint32Array((this.#directorySectors * SECTOR) / 4);
      this.#tables.forEach((table, i) => {
        const at = start + this.#directorySectors + i * TABLE_SECTORS;
        directory[i] = at;
        this.file.writeAt(at * SECTOR, littleEndian(table ?? new Uint32Array(GTES_PER_GT)));
      });
      this.file.writeAt(start * SECTOR, littleEndian(directory));
    }
    this.#writeStart(redundantAt + copySectors, 0);
    if (this.file.sizeBytes < this.#sector * SECTOR) this.file.truncate(this.#sector * SECTOR);
  }

  #writeStart(gdOffsetLow: number, gdOffsetHigh: number): void {
    this.file.writeAt(0, this.#header(gdOffsetLow, gdOffsetHigh));
    const descriptor = new Uint8Array(DESCRIPTOR_SECTORS * SECTOR);
    descriptor.set(Uint8Array.from(this.#descriptor(), (c) => c.charCodeAt(0)));
    this.file.writeAt(SECTOR, descriptor);
  }

  #header(gdOffsetLow: number, gdOffsetHigh: number): Uint8Array {
    const { validNewLine, redundantGrainTable, compressedGrains, markers } = ExtentFlag;
    return SparseExtentHeader.encode({
      magicNumber: VMDK_MAGIC,
      version: this.#isStream ? 3 : 1,
      flags: validNewLine | (this.#isStream ? compressedGrains | markers : redundantGrainTable),
      capacity: this.#capacity,
      grainSize: GRAIN_SECTORS,
      descriptorOffset: 1,
      descriptorSize: DESCRIPTOR_SECTORS,
      numGTEsPerGT: GTES_PER_GT,
      rgdOffset: this.#isStream ? 0 : 1 + DESCRIPTOR_SECTORS,
      gdOffsetLow,
      gdOffsetHigh,
      overHead: this.#isStream ? STREAM_OVERHEAD : this.#sparseOverhead,
      lineEnds: LINE_ENDS,
      compressAlgorithm: this.#isStream ? COMPRESSION_DEFLATE : 0,
    });
  }

  #descriptor(): string {
    const cylinders = Math.min(65_535, Math.ceil(this.#capacity / (HEADS * SECTORS_PER_TRACK)));
    const lines = [
      "# Disk DescriptorFile",
      "version=1",
      `CID=${this.contentId.toString(16).padStart(8, "0")}`,
      "parentCID=ffffffff",
      `createType="${this.kind}"`,
      "",
      "# Extent description",
      `RW ${this.#capacity} SPARSE "disk.vmdk"`,
      "",
      "# The Disk Data Base",
      'ddb.virtualHWVersion = "4"',
      `ddb.geometry.cylinders = "${cylinders}"`,
      `ddb.geometry.heads = "${HEADS}"`,
      `ddb.geometry.sectors = "${SECTORS_PER_TRACK}"`,
      'ddb.adapterType = "lsilogic"',
    ];
    return `${lines.join("\n")}\n`;
  }
}

function littleEndian(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer);
}

/** RFC 1950, 9. */
export function adler32(data: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let start = 0; start < data.length; start += ADLER_RUN) {
    const end = Math.min(data.length, start + ADLER_RUN);
    for (let i = start; i < end; i++) {
      a += data[i] as number;
      b += a;
    }
    a %= ADLER_PRIME;
    b %= ADLER_PRIME;
  }
  return ((b << 16) | a) >>> 0;
}
