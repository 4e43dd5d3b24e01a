/** Disks with an installed Debian: GPT, EFI system partition, GRUB, ext4. Made once and kept in the cache. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cached, keyOf } from "../../src/image/cache.ts";
import { runLogged } from "../../src/image/logged-process.ts";
import { debPackage } from "../../src/image/sources.ts";
import type { DebianRelease } from "../../src/rig/guest/guest-system.ts";
import { buildDirectory, repositoryRoot } from "../../src/rig/paths.ts";
import { makeFatDisk } from "./fat-disk.ts";

const suites = { 12: "bookworm", 13: "trixie" } as const;
const mirror = "http://deb.debian.org/debian";
const script = join(repositoryRoot, "test/framework/files/install-debian.sh");
const espBytes = 16 * 1024 ** 2;

/** What Debian's GRUB reads first when it is started from a removable path: it goes on in the root file system. */
const grubStub = `search --no-floppy --label root --set=root
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
`;

/**
 * Path of a raw disk with Debian on it, whose root has the password "thimble". Takes about a minute and a half the
 * first time, and needs root (or sudo) for that, as every installation does.
 */
export async function debianDisk(release: DebianRelease): Promise<string> {
  const key = keyOf(String(release), readFileSync(script), grubStub, mirror, String(espBytes));
  const directory = await cached("installed", `debian${release}-${key}`, async (target) => {
    const signed = await debPackage("grub-efi-amd64-signed", suites[release]);
    const esp = makeFatDisk(
      `esp-debian${release}`,
      {
        "EFI/BOOT/BOOTX64.EFI": { path: join(signed, "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed") },
        "EFI/debian/grub.cfg": grubStub,
      },
      espBytes,
    );
    const args = [script, suites[release], mirror, join(target, "disk.img"), esp];
    const asRoot = process.getuid?.() === 0;
    await runLogged(asRoot ? "sh" : "sudo", asRoot ? args : ["-n", "sh", ...args], {
      cwd: target,
      logFile: join(buildDirectory, "log", `install-debian${release}.log`),
    });
  });
  return join(directory, "disk.img");
}
