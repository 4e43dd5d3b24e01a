/**
 * Guests made on the spot: a Debian cloud kernel as Debian ships it, and a system of busybox around it.
 *
 * The initramfs loads the virtio drivers (modules in Debian's kernel) and either stays or goes on to a root disk.
 * The same small system is on both: a shell on the console, a power button that powers off, DHCP.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ThimbleError } from "../../base/errors.ts";
import { type CpioEntry, cpioArchive } from "../../image/cpio.ts";
import { cloudKernelPackage } from "../../image/sources.ts";
import { buildDirectory, repositoryRoot } from "../paths.ts";
import { directoryEntry, fileEntry, programEntry } from "./archive-entries.ts";
import { moduleClosure } from "./modules.ts";
import { busyboxPath, entriesMatching } from "./packages.ts";

export type DebianRelease = 12 | 13;

const suites = { 12: "bookworm", 13: "trixie" } as const;

/** Drivers for what a Thimble VM has, evdev for the power button's event, virtio-mmio for peers of other makes. */
const guestModules = [
  "virtio_pci",
  "virtio_mmio",
  "virtio_blk",
  "virtio_net",
  "virtio_console",
  "virtio-rng",
  "virtio_input",
  "button",
  "evdev",
];

/** In /modules, for tests that load them: they would cost every guest's boot a little. */
const laterModules = ["virtio_balloon", "vmw_vsock_virtio_transport", "virtio_scsi", "sr_mod", "isofs"];

const filesDirectory = join(repositoryRoot, "src/rig/guest/files");
const guestFile = (name: string): Buffer => readFileSync(join(filesDirectory, name));

export interface GuestSystem {
  readonly release: DebianRelease;
  /** Path of the kernel (bzImage). */
  readonly kernel: string;
  /** Path of the initramfs. */
  readonly initramfs: string;
}

/** The system's files, the same on a disk as in the initramfs. */
async function systemEntries(): Promise<CpioEntry[]> {
  const directories = [
    "bin",
    "dev",
    "etc",
    "etc/acpi",
    "etc/acpi/PWRF",
    "mnt",
    "newroot",
    "proc",
    "run",
    "sbin",
  ];
  return [
    ...[...directories, "sys", "tmp"].map(directoryEntry),
    programEntry("bin/busybox", readFileSync(await busyboxPath())),
    programEntry("sbin/init", guestFile("init")),
    // The name is the event's data as acpid writes it.
    programEntry("etc/acpi/PWRF/00000080", guestFile("power-button")),
    programEntry("etc/udhcpc.script", guestFile("udhcpc.script")),
    fileEntry("etc/resolv.conf", Buffer.alloc(0)),
  ];
}

function only(names: string[], what: string): string {
  if (names.length !== 1) {
    throw new ThimbleError(
      "unexpected_package",
      `Expected one ${what} in the kernel package, found ${names.length}.`,
    );
  }
  return names[0] as string;
}

/** Writes a file in one step, so that a reader never sees half of it. */
function writeWhole(path: string, content: Uint8Array): void {
  const partial = `${path}.partial-${process.pid}`;
  writeFileSync(partial, content);
  renameSync(partial, path);
}

const systems = new Map<DebianRelease, Promise<GuestSystem>>();

/** Kernel and initramfs of a Debian release. `extra` is added to the initramfs, for guests with a special program. */
export function guestSystem(release: DebianRelease, extra: readonly CpioEntry[] = []): Promise<GuestSystem> {
  if (extra.length > 0) return makeGuestSystem(release, extra);
  const known = systems.get(release) ?? makeGuestSystem(release, []);
  systems.set(release, known);
  return known;
}

async function makeGuestSystem(release: DebianRelease, extra: readonly CpioEntry[]): Promise<GuestSystem> {
  const tree = await cloudKernelPackage(suites[release]);
  const kernel = join(tree, "boot", only(entriesMatching(join(tree, "boot"), /^vmlinuz-/), "kernel"));
  // Debian 12 has /lib, Debian 13 /usr/lib.
  const base = [join(tree, "usr/lib/modules"), join(tree, "lib/modules")].find((path) =>
    existsSync(path),
  ) as string;
  const moduleTree = join(base, only(readdirSync(base), "module tree"));

  const builtin = readFileSync(join(moduleTree, "modules.builtin"), "utf8");
  const first = moduleClosure(moduleTree, builtin, guestModules);
  // Those that are needed first come first.
  const modules = moduleClosure(moduleTree, builtin, [...guestModules, ...laterModules]);
  const archive = cpioArchive([
    ...(await systemEntries()),
    // The kernel opens it for PID 1 before devtmpfs is mounted.
    { kind: "character-device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
    programEntry("init", guestFile("initramfs-init")),
    directoryEntry("modules"),
    fileEntry("modules/order", Buffer.from(first.map(({ name }) => `${name}\n`).join(""))),
    ...modules.map(({ name, data }) => fileEntry(`modules/${name}`, data)),
    ...extra,
  ]);
  const directory = join(buildDirectory, "guests");
  mkdirSync(directory, { recursive: true });
  const key = createHash("sha256").update(archive).digest("hex").slice(0, 12);
  const initramfs = join(directory, `initramfs-debian${release}-${key}.cpio`);
  if (!existsSync(initramfs)) writeWhole(initramfs, archive);
  return { release, kernel, initramfs };
}

/**
 * A root disk: a raw ext4 image with the same system and, for larger ones, a directory tree copied into it.
 * Made without privileges and kept under a key of its content.
 */
export async function rootDisk(
  options: { sizeBytes?: number; tree?: string; name?: string } = {},
): Promise<string> {
  const { sizeBytes = 8 * 1024 * 1024, tree, name = "root" } = options;
  const entries = await systemEntries();
  const hash = createHash("sha256")
    .update(cpioArchive(entries))
    .update(`${sizeBytes} ${tree ?? ""}`);
  const directory = join(buildDirectory, "guests");
  mkdirSync(directory, { recursive: true });
  const image = join(directory, `${name}-${hash.digest("hex").slice(0, 12)}.ext4`);
  if (existsSync(image)) return image;

  const staging = mkdtempSync(join(directory, "staging-"));
  try {
    for (const entry of entries) {
      const path = join(staging, entry.path);
      if (entry.kind === "directory") mkdirSync(path, { recursive: true });
      if (entry.kind === "file") writeFileSync(path, entry.data);
      chmodSync(path, entry.mode);
    }
    // The initramfs lets busybox make its links; a disk may be mounted read-only and must have them.
    const applets = execFileSync(join(staging, "bin/busybox"), ["--list"], { encoding: "utf8" });
    for (const applet of applets.trim().split("\n")) {
      if (applet !== "busybox") symlinkSync("busybox", join(staging, "bin", applet));
    }
    if (tree !== undefined) cpSync(tree, staging, { recursive: true, verbatimSymlinks: true });
    const partial = `${image}.partial-${process.pid}`;
    execFileSync(
      "mke2fs",
      [
        ...["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-d", staging],
        ...["-U", "c0ffee00-0000-4000-8000-000000000001", "-E", "root_owner=0:0,lazy_itable_init=0"],
        ...[partial, `${sizeBytes / 1024}k`],
      ],
      { env: { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin`, SOURCE_DATE_EPOCH: "1" } },
    );
    renameSync(partial, image);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return image;
}
