/** FAT disks for UEFI: made of files, without privileges. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { buildDirectory } from "../../src/rig/paths.ts";

const MiB = 1024 ** 2;
const sbin = { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` };

/** A file's content, or where it is. */
export type FatFile = string | { readonly path: string };

/**
 * Makes a raw disk with one FAT file system over all of it, in build/guests/NAME.img. Files are named by their path on
 * the disk, with slashes.
 */
export function makeFatDisk(
  name: string,
  files: Readonly<Record<string, FatFile>>,
  sizeBytes = 4 * MiB,
): string {
  const directory = join(buildDirectory, "guests");
  mkdirSync(directory, { recursive: true });
  const image = join(directory, `${name}.img`);
  rmSync(image, { force: true });
  writeFileSync(image, "");
  truncateSync(image, sizeBytes);
  execFileSync("mkfs.vfat", ["-n", "THIMBLE", image], { env: sbin, stdio: "pipe" });
  const staging = mkdtempSync(join(directory, "staging-"));
  const made = new Set<string>();
  const makeFolder = (path: string): void => {
    if (path === "." || made.has(path)) return;
    makeFolder(dirname(path));
    execFileSync("mmd", ["-i", image, `::${path}`]);
    made.add(path);
  };
  try {
    for (const [path, file] of Object.entries(files)) {
      makeFolder(dirname(path));
      let source = join(staging, "file");
      // The UEFI shell's scripts have DOS line ends.
      if (typeof file === "string")
        writeFileSync(source, path.endsWith(".nsh") ? file.replaceAll("\n", "\r\n") : file);
      else source = file.path;
      execFileSync("mcopy", ["-o", "-i", image, source, `::${path}`]);
    }
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return image;
}
