/** A qcow2 disk with the chain of what it is based on. */
import { ThimbleError } from "../../base/errors.ts";
import type { DiskImage } from "../../disk/image-file.ts";
import { Qcow2Image } from "../../disk/qcow2/image.ts";
import { RawImage } from "../../disk/raw.ts";
import { O_RDONLY, O_RDWR, open } from "../../sys/fs.ts";
import { lockFile } from "../../sys/lock.ts";
import { RandomAccessFile } from "../../sys/random-access-file.ts";
import type { BackingFile, DiskConfig } from "../config.ts";
import type { BlockBackend } from "../contract.ts";
import { DiskFile } from "./disk-file.ts";
import type { DiskHost } from "./open-disk.ts";
import { Qcow2Disk } from "./qcow2-disk.ts";

/** Throws ThimbleError or SystemError saying why the disk cannot be used. */
export function openQcow2(config: DiskConfig, host: DiskHost): BlockBackend {
  const { path, readOnly, cache } = config;
  const file = new DiskFile(path, host.memory, { readOnly, direct: cache === "direct", ring: host.ring });
  try {
    // The same file once more, whatever its name means by now, and with the page cache: tables are small and used often.
    const tables = openFile(`/proc/self/fd/${file.fd}`, path, readOnly);
    const backing = openBacking(config.backing ?? []);
    const image = new Qcow2Image(tables, { readOnly, backing });
    const clusterBytes = 2 ** image.header.clusterBits;
    const wholeClusters = Math.ceil(tables.sizeBytes / clusterBytes) * clusterBytes;
    if (!readOnly && tables.sizeBytes < wholeClusters) tables.truncate(wholeClusters);
    const log = (message: string) => host.log(`${path}: ${message}`);
    return new Qcow2Disk({ image, file, backing, memory: host.memory, log });
  } catch (error) {
    file.close();
    throw error;
  }
}

/** The chain of what an image is based on, opened from the far end; null for none. */
function openBacking(chain: readonly BackingFile[]): DiskImage | null {
  let below: DiskImage | null = null;
  for (const { path, format } of [...chain].reverse()) {
    const file = openFile(path, path, true);
    if (!lockFile(file.fd, "shared", path)) {
      throw new ThimbleError(
        "disk_in_use",
        `the backing file ${path} is being written by another VM or program`,
      );
    }
    below =
      format === "qcow2"
        ? new Qcow2Image(file, { readOnly: true, backing: below })
        : new RawImage(file, { readOnly: true });
  }
  return below;
}

function openFile(path: string, name: string, readOnly: boolean): RandomAccessFile {
  return new RandomAccessFile(open(path, readOnly ? O_RDONLY : O_RDWR), name);
}
