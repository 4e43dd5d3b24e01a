/**
 * Images: the files of a datastore that VMs boot from and use as disks.
 *
 * An upload goes to a file whose name begins with a dot, which no image's can, and becomes an image by being renamed
 * when it is complete. So an image is always whole, and what was cut short is found and removed.
 */
import { messageOf } from "../../base/errors.ts";
import { hasMagic, type ImageFacts, type ImageFormat } from "../../disk/probe.ts";
import { ENOSPC, SystemError } from "../../sys/errno.ts";
import { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } from "../../sys/fs.ts";
import type { BackingFile } from "../../vmm/config.ts";
import { RequestError } from "../http/errors.ts";
import type { FileInfo, Platform } from "../platform/platform.ts";
import { ImageFormats } from "./formats.ts";
import type { ImageJobs } from "./image-jobs.ts";
import { IMAGE_NAME, IMAGE_NAME_RULE } from "./names.ts";

export interface Image {
  readonly name: string;
  /** Of the file. */
  readonly sizeBytes: number;
  /** Space taken: less than the size for a sparse file. */
  readonly allocatedBytes: number;
  readonly createdAt: string;
  /** "unknown" when the datastore's note of it was damaged. */
  readonly format: ImageFormat | "unknown";
  /** Of the disk. */
  readonly virtualSizeBytes: number;
  /** Name of the image that it is based on. */
  readonly backing?: string;
}

/** The file of a disk, and those it is based on, the nearest first. */
export interface DiskFiles {
  readonly format: "raw" | "qcow2";
  readonly backing: readonly BackingFile[];
}

/** Where an upload's bytes come from; null at the end. */
export type ByteSource = () => Promise<Uint8Array | null>;

/** Space that uploads leave free: on a RAM datastore it is the host's own memory. */
const RESERVE_BYTES = 64 * 1024 * 1024;
/** Bytes between two looks at the space left. */
const SPACE_CHECK_BYTES = 8 * 1024 * 1024;
const READ_SIZE = 256 * 1024;
/** Images based on images based on images. */
const CHAIN_MAX = 16;
/** virtio-blk counts in these. */
export const SECTOR_BYTES = 512;

export class ImageStore {
  readonly #platform: Pick<Platform, "files" | "randomHex">;
  readonly #directory: string;
  readonly #availableMemory: () => number;
  readonly #jobs: ImageJobs;
  readonly #formats: ImageFormats;

  /** `availableMemory` gives the bytes of memory that are not in use and not promised to running guests. */
  constructor(
    platform: Pick<Platform, "files" | "randomHex">,
    datastore: string,
    availableMemory: () => number,
    jobs: ImageJobs,
  ) {
    const directory = `${datastore}/images`;
    this.#platform = platform;
    this.#directory = directory;
    this.#availableMemory = availableMemory;
    this.#jobs = jobs;
    this.#formats = new ImageFormats(platform.files, `${datastore}/formats.json`);
    platform.files.makeDirectories(directory);
    for (const { name } of platform.files.readDirectory(directory)) {
      if (name.startsWith(".")) platform.files.tryUnlink(`${directory}/${name}`);
    }
    if (this.#formats.damaged) this.#noteUnknown();
  }

  list(): Image[] {
    return this.#platform.files.readDirectory(this.#directory).flatMap(({ name }) => {
      const info = IMAGE_NAME.test(name) ? this.#info(name) : null;
      return info === null ? [] : [this.#describe(name, info)];
    });
  }

  /** Throws RequestError (404). */
  get(name: string): Image {
    const info = IMAGE_NAME.test(name) ? this.#info(name) : null;
    if (info === null) {
      throw new RequestError(404, "image_not_found", `There is no image "${name}". Upload it first.`);
    }
    return this.#describe(name, info);
  }

  has(name: string): boolean {
    return IMAGE_NAME.test(name) && this.#info(name) !== null;
  }

  /** The file of an image. The name must be valid. */
  path(name: string): string {
    checkName(name);
    return `${this.#directory}/${name}`;
  }

  /**
   * Stores all that `source` gives as an image, replacing one of that name when it is complete. `expectedBytes` is
   * the size when it is known; `mayCommit` throws when the image must not be replaced any more.
   * Throws RequestError: 400, 507; and what `source` throws. Then nothing is left.
   */
  async upload(
    name: string,
    source: ByteSource,
    expectedBytes: number | null,
    mayCommit: () => void,
  ): Promise<Image> {
    const { files } = this.#platform;
    checkName(name);
    this.#checkReplaceable(name);
    this.#checkSpace(expectedBytes ?? 0);
    const partial = this.partialPath();
    const fd = files.open(partial, O_WRONLY | O_CREAT | O_EXCL, 0o644);
    let committed = false;
    try {
      let unchecked = 0;
      for (let piece = await source(); piece !== null; piece = await source()) {
        unchecked += piece.length;
        if (unchecked >= SPACE_CHECK_BYTES) {
          this.#checkSpace(piece.length);
          unchecked = 0;
        }
        files.writeAll(fd, piece);
      }
      const facts = await this.#probe(partial);
      mayCommit();
      this.#checkReplaceable(name);
      this.commit(partial, name, facts);
      committed = true;
    } catch (error) {
      throw asFull(error);
    } finally {
      files.close(fd);
      if (!committed) files.tryUnlink(partial);
    }
    return this.get(name);
  }

  /** Makes an empty raw disk that takes no space until it is written to. Throws RequestError: 409 when the name is taken. */
  create(name: string, sizeBytes: number): Image {
    const { files } = this.#platform;
    this.checkFree(name, "name");
    const partial = this.partialPath();
    const fd = files.open(partial, O_WRONLY | O_CREAT | O_EXCL, 0o644);
    try {
      files.ftruncate(fd, sizeBytes);
      this.commit(partial, name, { format: "raw", virtualSizeBytes: sizeBytes });
    } catch (error) {
      files.tryUnlink(partial);
      throw asFull(error);
    } finally {
      files.close(fd);
    }
    return this.get(name);
  }

  /** All of a small image. Throws RequestError: 404, or 400 when it is larger than `maxBytes`. */
  readWhole(name: string, maxBytes: number): Uint8Array {
    const { sizeBytes } = this.get(name);
    if (sizeBytes > maxBytes) {
      const message = `The image "${name}" has ${sizeBytes} bytes; at most ${maxBytes} can be used here.`;
      throw new RequestError(400, "image_too_large", message);
    }
    const out = new Uint8Array(sizeBytes);
    const { files } = this.#platform;
    const fd = files.open(this.path(name), O_RDONLY);
    try {
      files.pread(fd, out, 0);
    } finally {
      files.close(fd);
    }
    return out;
  }

  /** Throws RequestError: 404, or 409 when other images are based on it. */
  delete(name: string): void {
    this.get(name);
    this.#checkReplaceable(name);
    this.#formats.forget(name);
    this.#platform.files.tryUnlink(this.path(name));
  }

  /** Throws RequestError (409) when there is an image of that name. */
  checkFree(name: string, field: string): void {
    checkName(name, field);
    if (!this.has(name)) return;
    throw new RequestError(
      409,
      "image_exists",
      `There is an image "${name}" already. Choose another name.`,
      field,
    );
  }

  /** Where a file is made that `commit` makes an image. */
  partialPath(): string {
    return `${this.#directory}/.upload-${this.#platform.randomHex(8)}`;
  }

  /** Makes an image of a file that is complete. */
  commit(partial: string, name: string, facts: ImageFacts): void {
    // The other way round a power cut could leave an image of unknown format, which is taken for raw.
    this.#formats.note(name, facts);
    this.#platform.files.rename(partial, this.path(name));
  }

  /** An image has another disk than before. */
  noteResized(name: string, virtualSizeBytes: number): void {
    const facts = this.#formats.get(name);
    if (facts !== null) this.#formats.note(name, { ...facts, virtualSizeBytes });
  }

  /** Throws RequestError (507) when work on images has to stop for want of room. */
  checkRoom(): void {
    this.#checkSpace(1);
  }

  /** The format of an image that is there. Throws RequestError (409), naming `field`, when nobody knows it any more. */
  knownFormat(name: string, field: string): ImageFormat {
    const format = this.#formats.get(name)?.format ?? "raw";
    if (format !== "unknown") return format;
    throw unusable(
      `"${name}" is of unknown format: the datastore's notes were damaged. Download it, and upload it again.`,
      field,
    );
  }

  /**
   * How a VMM opens a disk. Only images of the datastore are ever part of a chain, under their own names. Throws
   * RequestError (409), naming `field`.
   */
  diskFiles(name: string, field: string): DiskFiles {
    const top = this.knownFormat(name, field);
    if (top === "vmdk") throw unusable(`"${name}" is a VMDK image. Convert it to qcow2 or raw first.`, field);
    const backing: BackingFile[] = [];
    let below = this.#formats.get(name)?.backing;
    for (let owner = name; below !== undefined; below = this.#formats.get(owner)?.backing) {
      const next = below.name;
      if (backing.length === CHAIN_MAX)
        throw unusable(`"${name}" has more than ${CHAIN_MAX} images below it.`, field);
      if (!IMAGE_NAME.test(next))
        throw unusable(`"${owner}" is based on "${next}", which is no image's name.`, field);
      if (!this.has(next))
        throw unusable(`"${owner}" is based on "${next}", which is not there. Upload it.`, field);
      const format = this.knownFormat(next, field);
      if (format === "vmdk") throw unusable(`"${owner}" is based on "${next}", a VMDK image.`, field);
      if (below.format !== null && below.format !== format) {
        throw unusable(`"${owner}" takes "${next}" for ${below.format}, but it is ${format}.`, field);
      }
      backing.push({ path: this.path(next), format });
      owner = next;
    }
    return { format: top, backing };
  }

  /** The image's bytes: a source, and what releases it when it is not read to the end. Opens the file at the first read. */
  content(name: string): {
    readonly sizeBytes: number;
    readonly read: ByteSource;
    readonly close: () => void;
  } {
    const { sizeBytes } = this.get(name);
    const { files } = this.#platform;
    let fd = -1;
    let offset = 0;
    const close = () => {
      if (fd >= 0) files.close(fd);
      fd = -1;
    };
    const read = async () => {
      if (offset === 0) fd = files.open(this.path(name), O_RDONLY);
      const buffer = new Uint8Array(Math.min(READ_SIZE, sizeBytes - offset));
      const size = buffer.length === 0 ? 0 : files.pread(fd, buffer, offset);
      offset += size;
      if (size === 0) close();
      return size === 0 ? null : buffer.subarray(0, size);
    };
    return { sizeBytes, read, close };
  }

  #info(name: string): FileInfo | null {
    const info = this.#platform.files.tryStat(`${this.#directory}/${name}`);
    return info?.kind === "file" ? info : null;
  }

  #describe(name: string, info: FileInfo): Image {
    const { sizeBytes, allocatedBytes, createdMs } = info;
    const facts = this.#formats.get(name) ?? {
      format: "raw" as const,
      virtualSizeBytes: sizeBytes,
      backing: undefined,
    };
    return {
      name,
      sizeBytes,
      allocatedBytes,
      createdAt: new Date(createdMs).toISOString(),
      format: facts.format,
      virtualSizeBytes: facts.virtualSizeBytes,
      ...(facts.backing === undefined ? {} : { backing: facts.backing.name }),
    };
  }

  /** Images that may be of another format than raw, or raw disks with a header that a guest wrote: nobody can tell. */
  #noteUnknown(): void {
    for (const { name, sizeBytes } of this.list()) {
      if (this.#mayHaveFormat(this.path(name)))
        this.#formats.note(name, { format: "unknown", virtualSizeBytes: sizeBytes });
    }
  }

  #mayHaveFormat(path: string): boolean {
    const { files } = this.#platform;
    const start = new Uint8Array(4);
    const fd = files.open(path, O_RDONLY);
    try {
      files.pread(fd, start, 0);
    } finally {
      files.close(fd);
    }
    return hasMagic(start);
  }

  /** Only what may be of another format is given to a process that knows it. */
  async #probe(path: string): Promise<ImageFacts> {
    const { files } = this.#platform;
    if (!this.#mayHaveFormat(path))
      return { format: "raw", virtualSizeBytes: files.tryStat(path)?.sizeBytes ?? 0 };
    try {
      return (await this.#jobs.run({ op: "probe", path })) as ImageFacts;
    } catch (error) {
      throw new RequestError(400, "bad_image", messageOf(error));
    }
  }

  #checkReplaceable(name: string): void {
    const [other] = this.#formats.basedOn(name).filter((based) => this.has(based));
    if (other === undefined) return;
    throw new RequestError(
      409,
      "image_in_use",
      `The image "${other}" is based on "${name}". Delete or convert it first.`,
    );
  }

  #checkSpace(neededBytes: number): void {
    const free = Math.min(
      this.#platform.files.freeBytes(this.#directory),
      this.#availableMemory() - RESERVE_BYTES,
    );
    if (neededBytes > free) throw full(`${neededBytes} bytes are needed, ${Math.max(0, free)} are free`);
  }
}

function checkName(name: string, field = "name"): void {
  if (!IMAGE_NAME.test(name)) {
    throw new RequestError(400, "invalid_name", `The image's name ${IMAGE_NAME_RULE}.`, field);
  }
}

function unusable(message: string, field: string): RequestError {
  return new RequestError(409, "image_unusable", `The image ${message}`, field);
}

function full(detail: string): RequestError {
  return new RequestError(
    507,
    "datastore_full",
    `The datastore is full: ${detail}. Delete images that no VM needs.`,
  );
}

function asFull(error: unknown): unknown {
  return error instanceof SystemError && error.errno === ENOSPC ? full("the disk took no more") : error;
}
