/** Mappings: guest memory, the kvm_run page, io_uring rings. */
import type { GuestPhysical, HostVirtual } from "../base/addresses.ts";
import { hostVirtual } from "../base/addresses.ts";
import { check } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";
import { cString } from "./text.ts";

const PROT_NONE = 0;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MFD_CLOEXEC = 1;
/** prctl(2): gives anonymous memory a name in /proc/PID/smaps, where the kernel has CONFIG_ANON_VMA_NAME. */
const PR_SET_VMA = 0x53564d41;
const PR_SET_VMA_ANON_NAME = 0;
/** x86-64: where a huge page may begin. */
const HUGE_PAGE_SIZE = 2 * 1024 * 1024;

/** Gives anonymous memory back to the system; it reads as zeroes from then on. */
const MADV_DONTNEED = 4;
/** Not inherited over fork: a child of this process must not see guest memory. */
const MADV_DONTFORK = 10;
/** The kernel may share pages of equal content (KSM). */
const MADV_MERGEABLE = 12;
const MADV_HUGEPAGE = 14;
const MADV_DONTDUMP = 16;

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

  /** Advises the kernel (madvise(2), MADV_*) about all of it. Throws SystemError, in which `what` says what for. */
  advise(advice: number, what: string): void {
    check(bridge.syscall(SYS.madvise, this.address, this.sizeBytes, advice), "madvise", what);
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

/** A range of guest RAM: what `layoutRam` of src/vmm/memory gives. */
export interface RamRange {
  readonly start: GuestPhysical;
  /** A multiple of the page size. */
  readonly sizeBytes: number;
}

/** What the kernel may do with guest memory to serve it faster or to need less of it. Default: nothing. */
export interface RamOptions {
  /** Huge pages wherever 2 MiB are touched and to be had. */
  readonly hugePages?: boolean | undefined;
  /** Pages of equal content are shared with those of other mergeable VMs. */
  readonly mergeable?: boolean | undefined;
}

export interface GuestRam {
  /** The ranges with their addresses in this process, as GuestMemory takes them. */
  readonly regions: readonly (RamRange & { readonly host: HostVirtual })[];
  /** The WindowMapper for GuestMemory. */
  readonly map: (region: RamRange, offsetInRegion: number, sizeBytes: number) => ArrayBuffer;
  /** Unmaps everything. */
  release(): void;
}

/**
 * Guest memory: private anonymous memory (docs/decisions/0014), each range mapped in one piece that begins where a huge
 * page may. Pages come into being when the guest touches them. Throws SystemError (ENOMEM; EINVAL when the kernel
 * cannot do what the options ask for).
 */
export function mapGuestRam(name: string, ranges: readonly RamRange[], options: RamOptions = {}): GuestRam {
  const mappings = new Map<number, Mapping>();
  const release = () => {
    for (const mapping of mappings.values()) mapping.unmap();
  };
  try {
    const regions = ranges.map((range) => {
      const mapping = mapAnonymous(name, range.sizeBytes);
      mappings.set(range.start, mapping);
      mapping.advise(MADV_DONTFORK, name);
      mapping.advise(MADV_DONTDUMP, name);
      if (options.hugePages === true) mapping.advise(MADV_HUGEPAGE, "memory.hugePages");
      if (options.mergeable === true) mapping.advise(MADV_MERGEABLE, "memory.mergeable");
      return { ...range, host: mapping.address };
    });
    const map = (region: RamRange, offset: number, length: number) => {
      const mapping = mappings.get(region.start);
      if (mapping === undefined)
        throw new RangeError(`no guest memory starts at 0x${region.start.toString(16)}`);
      return mapping.view(offset, length);
    };
    return { regions, map, release };
  } catch (error) {
    release();
    throw error;
  }
}

/**
 * Gives pages of guest memory back to the host: they read as zeroes and take memory again when they are touched.
 * `host` and `length` are multiples of the page size, inside mapped guest memory. Throws SystemError.
 */
export function giveBack(host: HostVirtual, length: number): void {
  check(bridge.syscall(SYS.madvise, host, length, MADV_DONTNEED), "madvise");
}

/**
 * Has the whole huge pages in [host, host + length) of guest memory taken as such, which saves 511 of 512 faults when
 * the range is filled at once. A kernel that cannot do it goes on as before.
 */
export function preferHugePages(host: HostVirtual, length: number): void {
  const start = Math.ceil(host / HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE;
  const end = Math.floor((host + length) / HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE;
  if (end > start) bridge.syscall(SYS.madvise, start, end - start, MADV_HUGEPAGE);
}

function mapAnonymous(name: string, sizeBytes: number): Mapping {
  const anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const reservedBytes = sizeBytes + HUGE_PAGE_SIZE;
  const reserved = check(
    bridge.syscall(SYS.mmap, null, reservedBytes, PROT_NONE, anonymous, -1, 0),
    "mmap",
    name,
  );
  const start = Math.ceil(reserved / HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE;
  check(
    bridge.syscall(SYS.mmap, start, sizeBytes, PROT_READ | PROT_WRITE, anonymous | MAP_FIXED, -1, 0),
    "mmap",
    name,
  );
  if (start > reserved) bridge.syscall(SYS.munmap, reserved, start - reserved);
  const end = start + sizeBytes;
  const reservedEnd = reserved + reservedBytes;
  if (reservedEnd > end) bridge.syscall(SYS.munmap, end, reservedEnd - end);
  // Kernels that cannot name it refuse; only statistics miss it.
  bridge.syscall(SYS.prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, start, sizeBytes, cString(name));
  return new Mapping(hostVirtual(start), sizeBytes);
}
