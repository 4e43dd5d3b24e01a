/** The machine's CD drives: which media a configuration puts into them. */
import { RawDisk } from "./backends/raw-disk.ts";
import { forField } from "./boot-files.ts";
import type { VmmConfig } from "./config.ts";
import type { BlockBackend } from "./contract.ts";
import type { GuestMemory } from "./memory/guest-memory.ts";
import { CdDrive } from "./virtio/scsi/cd-drive.ts";

/** Drive i is target i. Throws ThimbleError("bad_config") naming the field at fault. */
export function makeDrives({ cdroms = [] }: VmmConfig, { memory }: { memory: GuestMemory }): CdDrive[] {
  return cdroms.map(({ path }, i) => {
    const medium = path === undefined ? null : forField(`cdroms[${i}].path`, () => openMedium(path, memory));
    return new CdDrive(medium, `cdrom${i}`);
  });
}

function openMedium(path: string, memory: GuestMemory): BlockBackend {
  return new RawDisk(path, memory, { readOnly: true, direct: false, ring: () => null });
}
