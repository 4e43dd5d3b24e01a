/** From a disk's configuration to the backend that serves it. */
import type { IoRing } from "../../sys/io-uring.ts";
import type { DiskConfig } from "../config.ts";
import type { BlockBackend } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { imagesPart } from "../parts.ts";
import { RawDisk } from "./raw-disk.ts";

export interface DiskHost {
  readonly memory: GuestMemory;
  /** The process's ring; null where there is none. */
  readonly ring: () => IoRing | null;
  readonly log: (message: string) => void;
}

/** Throws ThimbleError or SystemError saying why the disk cannot be used. */
export function openDisk(config: DiskConfig, host: DiskHost): BlockBackend {
  const { path, readOnly, cache } = config;
  if (config.format === "qcow2") return imagesPart().openQcow2(config, host);
  return new RawDisk(path, host.memory, { readOnly, direct: cache === "direct", ring: host.ring });
}
