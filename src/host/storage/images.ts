/**
 * Images: the files of a datastore that VMs boot from and use as disks.
 *
 * An upload goes to a file whose name begins with a dot, which no image's can, and becomes an image by being renamed
 * when it is complete. So an image is always whole, and what was cut short is found and removed.
 */
import { ENOSPC, SystemError } from "../../sys/errno.ts";
import { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } from "../../sys/fs.ts";
import { RequestError } from "../http/errors.ts";
import type { FileInfo, Platform } from "../platform/platform.ts";
import { IMAGE_NAME, IMAGE_NAME_RULE } from "./names.ts";

export interface Image {
  readonly name: string;
  readonly sizeBytes: number;
  /** Space taken: less than the size for a sparse file. */
  readonly allocatedBytes: number;
  readonly createdAt: string;
}

/** Where an upload's bytes come from; null at the end. */
export type ByteSource = () => Promise<Uint8Array | null>;

/** Space that uploads leave free: on a RAM datastore it is the host's own memory. */
const RESERVE_BYTES = 64 * 1024 * 1024;
/** Bytes between two looks at the space left. */
const SPACE_CHECK_BYTES = 8 * 1024 * 1024;
const READ_SIZE = 256 * 1024;
/** virtio-blk counts in these. */
export const SECTOR_BYTES = 512;

export class ImageStore {
  readonly #platform: Pick<Platform, "files" | "randomHex">;
  readonly #directory: string;
  readonly #availableMemory: () => number;

  /** `availableMemory` gives the bytes of memory that are not in use and not promised to running guests. */
  constructor(
    platform: Pick<Platform, "files" | "randomHex">,
    directory: string,
    availableMemory: () => number,
  ) {
    this.#platform = platform;
    this.#directory = directory;
    this.#availableMemory = availableMemory;
    platform.files.makeDirectories(directory);
    for (const { name } of platform.files.readDirectory(directory)) {
      if (name.startsWith(".")) platform.files.tryUnlink(`${directory}/${name}`);
    }
  }

  list(): Image[] {
    return this.#platform.files.readDirectory(this.#directory).flatMap(({ name }) => {
      const info = IMAGE_NAME.test(name) ? this.#info(name) : null;
      return info === null ? [] : [describe(name, info)];
    });
  }

  /** Throws RequestError (404). */
  get(name: string): Image {
    const info = IMAGE_NAME.test(name) ? this.#info(name) : null;
    if (info === null) {
      throw new RequestError(404, "image_not_found", `There is no image "${name}". Upload it first.`);
    }
    return describe(name, info);
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
    const target = this.path(name);
    this.#checkSpace(expectedBytes ?? 0);
    const partial = this.#partialPath();
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
      mayCommit();
      files.rename(partial, target);
      committed = true;
    } catch (error) {
      throw asFull(error);
    } finally {
      files.close(fd);
      if (!committed) files.tryUnlink(partial);
    }
    return this.get(name);
  }

  /** Makes an empty disk that takes no space until it is written to. Throws RequestError: 409 when the name is taken. */
  create(name: string, sizeBytes: number): Image {
    const { files } = this.#platform;
    const target = this.path(name);
    if (this.has(name)) {
      throw new RequestError(
        409,
        "image_exists",
        `There is an image "${name}" already. Choose another name.`,
        "name",
      );
    }
    const partial = this.#partialPath();
    const fd = files.open(partial, O_WRONLY | O_CREAT | O_EXCL, 0o644);
    try {
      files.ftruncate(fd, sizeBytes);
      files.rename(partial, target);
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

  /** Throws RequestError (404). */
  delete(name: string): void {
    this.get(name);
    this.#platform.files.tryUnlink(this.path(name));
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

  #partialPath(): string {
    return `${this.#directory}/.upload-${this.#platform.randomHex(8)}`;
  }

  #checkSpace(neededBytes: number): void {
    const free = Math.min(
      this.#platform.files.freeBytes(this.#directory),
      this.#availableMemory() - RESERVE_BYTES,
    );
    if (neededBytes > free) throw full(`${neededBytes} bytes are needed, ${Math.max(0, free)} are free`);
  }
}

function describe(name: string, info: FileInfo): Image {
  const { sizeBytes, allocatedBytes, createdMs } = info;
  return { name, sizeBytes, allocatedBytes, createdAt: new Date(createdMs).toISOString() };
}

function checkName(name: string): void {
  if (!IMAGE_NAME.test(name)) {
    throw new RequestError(400, "invalid_name", `The image's name ${IMAGE_NAME_RULE}.`, "name");
  }
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
