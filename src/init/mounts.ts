/** The filesystems a host has: all of them the kernel's own, none on a disk. */
import { exists, makeDirectories } from "../sys/fs.ts";
import { MS_NODEV, MS_NOEXEC, MS_NOSUID, mount } from "../sys/mount.ts";

interface MountPoint {
  readonly type: string;
  readonly target: string;
  readonly flags: number;
  readonly options: string;
  /** Only where the kernel offers it: this path exists then. */
  readonly when?: string;
}

const KERNEL_INTERFACE = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/** In order: later ones lie on earlier ones. */
const MOUNTS: readonly MountPoint[] = [
  { type: "proc", target: "/proc", flags: KERNEL_INTERFACE, options: "" },
  { type: "sysfs", target: "/sys", flags: KERNEL_INTERFACE, options: "" },
  { type: "devtmpfs", target: "/dev", flags: MS_NOSUID, options: "mode=0755" },
  { type: "devpts", target: "/dev/pts", flags: MS_NOSUID | MS_NOEXEC, options: "mode=0620,ptmxmode=0666" },
  { type: "tmpfs", target: "/run", flags: MS_NOSUID | MS_NODEV | MS_NOEXEC, options: "mode=0755" },
  { type: "cgroup2", target: "/sys/fs/cgroup", flags: KERNEL_INTERFACE, options: "", when: "/sys/fs/cgroup" },
  {
    type: "efivarfs",
    target: "/sys/firmware/efi/efivars",
    flags: KERNEL_INTERFACE,
    options: "",
    when: "/sys/firmware/efi/efivars",
  },
];

/** Mounts everything. Throws SystemError naming the filesystem: without one of these there is no host. */
export function mountAll(): void {
  for (const { type, target, flags, options, when } of MOUNTS) {
    if (when !== undefined && !exists(when)) continue;
    makeDirectories(target);
    mount(type, target, type, flags, options);
  }
}
