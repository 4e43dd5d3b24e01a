/** The datastore that every host has: its own memory. What it holds is gone with the power. */
import { makeDirectories, readText } from "../../sys/fs.ts";
import { MS_NODEV, MS_NOSUID, mount } from "../../sys/mount.ts";

/** Of all memory. Uploads also look at what is free (images.ts); this bounds what guests' writes can take. */
const SIZE_LIMIT = "75%";

/** Mounts it unless that has been done. Throws SystemError. */
export function mountRamDatastore(path: string): void {
  const mounted = readText("/proc/self/mounts")
    .split("\n")
    .some((line) => line.split(" ")[1] === path);
  if (mounted) return;
  makeDirectories(path);
  mount("datastore", path, "tmpfs", MS_NOSUID | MS_NODEV, `size=${SIZE_LIMIT},mode=755`);
}
