/** From a disk's configuration to the backend that serves it. */
import type { IoRing } from "../../sys/io-uring.ts";
import type { DiskConfig } from "../config.ts";
import type { BlockBackend } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { RawDisk } from "./raw-disk.ts";

/** Throws ThimbleError or SystemError saying why the disk cannot be used. */
export function openDisk(config: DiskConfig, memory: GuestMemory, ring: () => IoRing | null): BlockBackend {
  const { path, readOnly, cache } = config;
  return new RawDisk(path, memory, { readOnly, direct: cache === "direct", ring });
}
