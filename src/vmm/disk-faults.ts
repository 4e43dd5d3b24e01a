/**
 * What errors of disks do to the machine. By policy an error is the guest's, or pauses the machine until the disk works
 * again; a full file system always pauses it. Disks that wait are tried again every second.
 */
import { EDQUOT, ENOSPC, errnoText } from "../sys/errno.ts";
import type { DiskConfig } from "./config.ts";
import type { Clock } from "./contract.ts";

const RETRY_MS = 1000;

/** The device of a disk, as far as faults go. */
export interface FaultyDisk {
  readonly isStalled: boolean;
  retry(): void;
}

export class DiskFaults {
  readonly #clock: Clock;
  readonly #pause: (reason: string | null) => void;
  readonly #disks: FaultyDisk[] = [];
  #timer: (() => void) | null = null;

  /** `pause` pauses the machine for a reason, and with null lets it go on. */
  constructor(clock: Clock, pause: (reason: string | null) => void) {
    this.#clock = clock;
    this.#pause = pause;
  }

  add(disk: FaultyDisk): void {
    this.#disks.push(disk);
  }

  /** The answer to BlkOptions.onError of the disk that errors name as `name`. */
  policy(name: string, config: DiskConfig): (errno: number, isFlush: boolean) => boolean {
    const pauses = config.onError === "pause";
    const isDirect = config.cache === "direct";
    return (errno, isFlush) => {
      const isFull = errno === ENOSPC || errno === EDQUOT;
      // What a flush could not write the page cache has dropped: trying again would succeed without it.
      if (!isFull && (!pauses || (isFlush && !isDirect))) return false;
      this.#pause(`${name} (${config.path}): ${errnoText(errno)}`);
      this.#timer ??= this.#clock.after(RETRY_MS, () => this.retry());
      return true;
    };
  }

  /** Tries again now. The machine goes on when no disk waits any more. */
  retry(): void {
    this.#timer?.();
    this.#timer = null;
    for (const disk of this.#disks) if (disk.isStalled) disk.retry();
    if (this.#disks.some((disk) => disk.isStalled))
      this.#timer ??= this.#clock.after(RETRY_MS, () => this.retry());
    else this.#pause(null);
  }
}
