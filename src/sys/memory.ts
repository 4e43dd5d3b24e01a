/** Shared mappings: guest memory, the kvm_run page, io_uring rings. */
import type { GuestPhysical, HostVirtual } from "../base/addresses.ts";
import { hostVirtual } from "../base/addresses.ts";
import { check } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";
import { cString } from "./text.ts";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_NORESERVE = 0x4000;
const MFD_CLOEXEC = 1;

export const MADV_DONTNEED = 4;
/** Punches a hole into the file behind a shared mapping: its memory is given back (ballooning). */
export const MADV_REMOVE = 9;
/** Not inherited over fork: a child of this process must not see guest memory. */
export const MADV_DONTFORK = 10;
export const MADV_HUGEPAGE = 14;
export const MADV_DONTDUMP = 16;

/** A file of `sizeBytes` that is only memory, close-on-exec. `name` shows in /proc. */
export function createMemoryFile(name: string, sizeBytes: number): number {
  const fd = check(bridge.syscall(SYS.memfd_create, cString(name), MFD_CLOEXEC), "memfd_create", name);
  const result = bridge.syscall(SYS.ftruncate, fd, sizeBytes);
  if (result < 0) bridge.syscall(SYS.close, fd);
  check(result, "ftruncate", name);
  return fd;
}

/**
 * Memory mapped into this process. It is seen through buffers made by `view`; `unmap` makes them all zero-length first,
 * so that no later access can reach memory that is gone.
 */
export class Mapping {
  readonly #views: ArrayBuffer[] = [];
  #mapped = true;

  constructor(
    readonly address: HostVirtual,
    readonly sizeBytes: number,
  ) {}

  /** The bytes [offset, offset + length) as a buffer; at most 2^31 - 1 of them. */
  view(offset = 0, length = this.sizeBytes - offset): ArrayBuffer {
    if (!this.#mapped || offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new RangeError(`${length} bytes at ${offset} are outside a mapping of ${this.sizeBytes}`);
    }
    const buffer = bridge.view(this.address + offset, length);
    this.#views.push(buffer);
    return buffer;
  }

  /** Advises the kernel (madvise(2), MADV_*) about part of it. Throws SystemError. */
  advise(advice: number, offset = 0, length = this.sizeBytes - offset): void {
    check(bridge.syscall(SYS.madvise, this.address + offset, length, advice), "madvise");
  }

  unmap(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    for (const buffer of this.#views) bridge.detach(buffer);
    this.#views.length = 0;
    check(bridge.syscall(SYS.munmap, this.address, this.sizeBytes), "munmap");
  }
}

/** Maps a file or device shared, for reading and writing. `offset` is a multiple of the page size. */
export function mapShared(fd: number, offset: number, sizeBytes: number): Mapping {
  const address = check(
    bridge.syscall(SYS.mmap, null, sizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, offset),
    "mmap",
    `fd ${fd}`,
  );
  return new Mapping(hostVirtual(address), sizeBytes);
}

/** Maps a file for reading only; its pages are the page cache's own. */
export function mapReadOnly(fd: number, sizeBytes: number): Mapping {
  const address = check(
    bridge.syscall(SYS.mmap, null, sizeBytes, PROT_READ, MAP_SHARED, fd, 0),
    "mmap",
    `fd ${fd}`,
  );
  return new Mapping(hostVirtual(address), sizeBytes);
}

/** A range of guest RAM and where it lies in the memory file: what `layoutRam` of src/vmm/memory gives. */
export interface RamRange {
  readonly start: GuestPhysical;
  readonly sizeBytes: number;
  readonly fileOffset: number;
}

export interface GuestRam {
  /** The memory file: for vhost-user, snapshots and the like. */
  readonly fd: number;
  /** The ranges with their addresses in this process, as GuestMemory takes them. */
  readonly regions: readonly (RamRange & { readonly host: HostVirtual })[];
  /** The WindowMapper for GuestMemory. */
  readonly map: (region: RamRange, offsetInRegion: number, sizeBytes: number) => ArrayBuffer;
  /** Unmaps everything and closes the file. */
  release(): void;
}

/**
 * Guest memory: one memory file, each range mapped in one piece. Pages come into being when the guest touches them.
 * Throws SystemError (ENOMEM).
 */
export function mapGuestRam(name: string, ranges: readonly RamRange[]): GuestRam {
  const sizeBytes = ranges.reduce((total, range) => Math.max(total, range.fileOffset + range.sizeBytes), 0);
  const fd = createMemoryFile(name, sizeBytes);
  const mappings = new Map<number, Mapping>();
  const release = () => {
    for (const mapping of mappings.values()) mapping.unmap();
    bridge.syscall(SYS.close, fd);
  };
  try {
    const regions = ranges.map((range) => {
      const mapping = mapShared(fd, range.fileOffset, range.sizeBytes);
      mappings.set(range.start, mapping);
      mapping.advise(MADV_DONTFORK);
      mapping.advise(MADV_DONTDUMP);
      return { ...range, host: mapping.address };
    });
    const map = (region: RamRange, offset: number, length: number) => {
      const mapping = mappings.get(region.start);
      if (mapping === undefined)
        throw new RangeError(`no guest memory starts at 0x${region.start.toString(16)}`);
      return mapping.view(offset, length);
    };
    return { fd, regions, map, release };
  } catch (error) {
    release();
    throw error;
  }
}
