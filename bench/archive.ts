/** What the measuring host needs beside Thimble: scripts, the guest, and Debian's QEMU with its libraries. */
import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CpioEntry, cpioArchive } from "../src/rig/guest/cpio.ts";
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
  return (readdirSync(tree, { recursive: true }) as string[]).sort().map((path): CpioEntry => {
    const file = join(tree, path);
    if (lstatSync(file).isDirectory()) return { path, kind: "directory" };
    return { path, kind: "file", permissions: 0o755, content: readFileSync(file) };
  });
}

function firmwareEntries(): CpioEntry[] {
  return firmwareFiles.map((name): CpioEntry => {
    const directory = firmwareDirectories.find((path) => existsSync(join(path, name)));
    if (directory === undefined) throw new Error(`QEMU's firmware file ${name} was not found.`);
    return { path: `bench/firmware/${name}`, kind: "file", content: readFileSync(join(directory, name)) };
  });
}

/** Writes the archive to `path`. */
export async function writeBenchArchive(path: string): Promise<void> {
  const busybox = readFileSync(await busyboxPath());
  const guest = await guestSystem(13, [
    { path: "bench.sh", kind: "file", permissions: 0o755, content: benchFile("guest.sh") },
  ]);
  const fioDisk = await rootDisk({
    name: "fio",
    sizeBytes: fioDiskBytes,
    tree: programTree("fio", "/usr/bin/fio"),
  });
  const file = (name: string, content: Buffer): CpioEntry => ({
    path: `bench/${name}`,
    kind: "file",
    content,
  });
  writeFileSync(
    path,
    cpioArchive([
      ...entriesOfTree(programTree("qemu-system-x86", "/usr/bin/qemu-system-x86_64")),
      { path: "bench", kind: "directory" },
      { path: "bench/firmware", kind: "directory" },
      ...firmwareEntries(),
      { path: "bench/busybox", kind: "file", permissions: 0o755, content: busybox },
      file("host.sh", benchFile("host.sh")),
      file("count", benchFile("count")),
      file("kernel", readFileSync(guest.kernel)),
      file("initramfs", readFileSync(guest.initramfs)),
      file("fio.img", readFileSync(fioDisk)),
    ]),
  );
}
