/** Debian's QEMU as files for the simulated server's initramfs, to run the same guest beside Thimble. */
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { CpioEntry } from "../../image/cpio.ts";
import { directoryEntry, fileEntry, programEntry } from "./archive-entries.ts";
import { programTree } from "./program-tree.ts";

/** Where Debian puts the firmware that QEMU loads into its guests. */
const firmwareDirectories = ["/usr/share/qemu", "/usr/share/seabios"];
const firmwareFiles = ["bios-256k.bin", "bios-microvm.bin", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin"];

/** What a shell has to set before it runs QEMU there, and how it is called up to the machine's own arguments. */
export const qemuPeerEnvironment = "LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu";
export const qemuPeerCommand = "/usr/bin/qemu-system-x86_64 -L /peer/firmware -nodefaults -no-user-config";

/** A tree of programs as files of an initramfs. */
export function entriesOfTree(tree: string): CpioEntry[] {
  return (readdirSync(tree, { recursive: true }) as string[]).sort().map((path) => {
    const file = join(tree, path);
    return lstatSync(file).isDirectory() ? directoryEntry(path) : programEntry(path, readFileSync(file));
  });
}

/** /usr/bin/qemu-system-x86_64 with its libraries, its firmware in /peer/firmware. */
export function qemuPeerEntries(): CpioEntry[] {
  const firmware = firmwareFiles.map((name) => {
    const directory = firmwareDirectories.find((path) => existsSync(join(path, name)));
    if (directory === undefined) throw new Error(`QEMU's firmware file ${name} was not found.`);
    return fileEntry(`peer/firmware/${name}`, readFileSync(join(directory, name)));
  });
  return [
    ...entriesOfTree(programTree("qemu-system-x86", "/usr/bin/qemu-system-x86_64")),
    directoryEntry("peer"),
    directoryEntry("peer/firmware"),
    ...firmware,
  ];
}
