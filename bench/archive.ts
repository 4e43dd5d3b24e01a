/** What the measuring host needs beside Thimble: scripts, the guest, and Debian's QEMU with its libraries. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cpioArchive } from "../src/image/cpio.ts";
import { directoryEntry, fileEntry, programEntry } from "../src/rig/guest/archive-entries.ts";
import { guestSystem, rootDisk } from "../src/rig/guest/guest-system.ts";
import { busyboxPath } from "../src/rig/guest/packages.ts";
import { programTree } from "../src/rig/guest/program-tree.ts";
import { qemuPeerEntries } from "../src/rig/guest/qemu-peer.ts";
import { repositoryRoot } from "../src/rig/paths.ts";

const benchFile = (name: string): Buffer => readFileSync(join(repositoryRoot, "bench/files", name));
const fioDiskBytes = 128 * 1024 * 1024;

/** Writes the archive to `path`. */
export async function writeBenchArchive(path: string): Promise<void> {
  const busybox = readFileSync(await busyboxPath());
  const guest = await guestSystem(13, [programEntry("bench.sh", benchFile("guest.sh"))]);
  const fioDisk = await rootDisk({
    name: "fio",
    sizeBytes: fioDiskBytes,
    tree: programTree("fio", "/usr/bin/fio"),
  });
  writeFileSync(
    path,
    cpioArchive([
      ...qemuPeerEntries(),
      directoryEntry("bench"),
      programEntry("bench/busybox", busybox),
      fileEntry("bench/host.sh", benchFile("host.sh")),
      fileEntry("bench/count", benchFile("count")),
      fileEntry("bench/kernel", readFileSync(guest.kernel)),
      fileEntry("bench/initramfs", readFileSync(guest.initramfs)),
      fileEntry("bench/fio.img", readFileSync(fioDisk)),
    ]),
  );
}
