/** What the measuring host needs beside Thimble: scripts, the guest, and Debian's QEMU with its libraries. */
import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CpioEntry, cpioArchive } from "../src/image/cpio.ts";
import { directoryEntry, fileEntry, programEntry } from "../src/rig/guest/archive-entries.ts";
import { guestSystem, rootDisk } from "../src/rig/guest/guest-system.ts";
import { busyboxPath } from "../src/rig/guest/packages.ts";
import { programTree } from "../src/rig/guest/program-tree.ts";
import { repositoryRoot } from "../src/rig/paths.ts";

const benchFile = (name: string): Buffer => readFileSync(join(repositoryRoot, "bench/files", name));
const fioDiskBytes = 128 * 1024 * 1024;

/** Where Debian puts the firmware that QEMU loads into its guests. */
const firmwareDirectories = ["/usr/share/qemu", "/usr/share/seabios"];
const firmwareFiles = ["bios-256k.bin", "bios-microvm.bin", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin"];

function entriesOfTree(tree: string): CpioEntry[] {
  return (readdirSync(tree, { recursive: true }) as string[]).sort().map((path) => {
    const file = join(tree, path);
    return lstatSync(file).isDirectory() ? directoryEntry(path) : programEntry(path, readFileSync(file));
  });
}

function firmwareEntries(): CpioEntry[] {
  return firmwareFiles.map((name) => {
    const directory = firmwareDirectories.find((path) => existsSync(join(path, name)));
    if (directory === undefined) throw new Error(`QEMU's firmware file ${name} was not found.`);
    return fileEntry(`bench/firmware/${name}`, readFileSync(join(directory, name)));
  });
}

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
      ...entriesOfTree(programTree("qemu-system-x86", "/usr/bin/qemu-system-x86_64")),
      directoryEntry("bench"),
      directoryEntry("bench/firmware"),
      ...firmwareEntries(),
      programEntry("bench/busybox", busybox),
      fileEntry("bench/host.sh", benchFile("host.sh")),
      fileEntry("bench/count", benchFile("count")),
      fileEntry("bench/kernel", readFileSync(guest.kernel)),
      fileEntry("bench/initramfs", readFileSync(guest.initramfs)),
      fileEntry("bench/fio.img", readFileSync(fioDisk)),
    ]),
  );
}
