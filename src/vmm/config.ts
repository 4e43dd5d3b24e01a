import type { CpuModel, CpuTopology } from "../base/cpu-topology.ts";

/** What one VMM process is told to run: the JSON file named by `thimble vmm --config FILE`. */
export interface VmmConfig {
  /** For logs and the guest's SMBIOS-like tables. */
  readonly name: string;
  /** 1 to 64. */
  readonly cpus: number;
  /** What kind they are. Absent: as the host's, in one socket. */
  readonly cpu?: CpuConfig;
  /** Multiple of 2 MiB, at least 16 MiB. */
  readonly memoryBytes: number;
  /** How that memory is kept. */
  readonly memory?: MemoryConfig;
  readonly boot: DirectBoot | FirmwareBoot;
  readonly disks: readonly DiskConfig[];
  /** CD drives (virtio-scsi), at most 4. Absent: none. */
  readonly cdroms?: readonly CdromConfig[];
  readonly networks: readonly NetworkConfig[];
  /** Where the guest's first serial port goes: the process's own terminal, or a Unix socket that clients attach to. */
  readonly serial: { readonly kind: "stdio" } | { readonly kind: "socket"; readonly path: string };
  /** Unix socket on which the VMM listens for the control protocol (control.ts). Absent: no control. */
  readonly controlSocket?: string;
  /** A virtio-console beside the serial port, on a Unix socket of its own. */
  readonly virtioConsole?: { readonly path: string };
  /** Named byte streams to programs in the guest (virtio-serial), each on a Unix socket. At most 8. */
  readonly channels?: readonly ChannelConfig[];
  /** Sockets between guest and host (virtio-vsock). Absent: none. */
  readonly vsock?: VsockConfig;
  /** A display, shown by VNC on a Unix socket. Absent: the machine has none. */
  readonly graphics?: { readonly kind: "vnc"; readonly path: string };
  /** A write to I/O port 0xF4 ends the VMM with status `value << 1 | 1`. Default false. */
  readonly debugExit?: boolean;
  /** File that gets what the guest writes to ports 0xE9 and 0x402. Absent: those ports are nobody's. */
  readonly debugConsole?: string;
}

export interface CpuConfig extends Partial<CpuTopology> {
  /** Default "host". */
  readonly model?: CpuModel;
  /** Features that the guest is not to see, by the names of /proc/cpuinfo. */
  readonly disable?: readonly string[];
}

export interface MemoryConfig {
  /** Huge pages of the host for the guest's memory, where they are to be had. Default false. */
  readonly hugePages?: boolean;
  /** The host may share pages of equal content with other VMs that allow it (KSM). Default false. */
  readonly mergeable?: boolean;
  /** The guest may tell of free memory, which goes back to the host. Default true. */
  readonly freePageReporting?: boolean;
  /** How much memory the balloon is to take from the guest. Default 0. */
  readonly balloonTargetBytes?: number;
  /** How often the guest is asked for its memory statistics; 0: never. Default 10. */
  readonly statisticsSeconds?: number;
}

/** The VMM loads the kernel itself. */
export interface DirectBoot {
  /** bzImage, multiboot (version 1) kernel, or ELF with a PVH note. */
  readonly kernel: string;
  readonly initrd?: string;
  readonly commandLine: string;
}

/** The guest starts with UEFI firmware (OVMF). */
export interface FirmwareBoot {
  /** Firmware code: OVMF_CODE_4M.fd or its like. Only read. */
  readonly firmware: string;
  /** The guest's firmware variables: made as a copy of OVMF_VARS_4M.fd or its like, which fits the code. Written. */
  readonly nvram: string;
  /** What the firmware tries first: "disk0", "cdrom0", "network1", … Absent: as its variables say. */
  readonly order?: readonly string[];
  /** A kernel with an EFI stub that the firmware starts before anything else, as from the other two. */
  readonly kernel?: string;
  /** With `kernel` only. */
  readonly initrd?: string;
  /** With `kernel` only. */
  readonly commandLine?: string;
}

export type DiskFormat = "raw" | "qcow2";

/** A file that an image is based on. */
export interface BackingFile {
  readonly path: string;
  readonly format: DiskFormat;
}

export interface DiskConfig {
  /** The image file, or a block device. */
  readonly path: string;
  readonly readOnly: boolean;
  /** What the guest reads as the disk's serial number, at most 20 bytes. */
  readonly serial?: string;
  /** Never guessed: a guest that writes a header of another format into a raw image must not gain by it. Default "raw". */
  readonly format?: DiskFormat;
  /**
   * What a qcow2 image is based on, the nearest first; only read. What images themselves say of it is compared for
   * whether there is one, and otherwise not followed.
   */
  readonly backing?: readonly BackingFile[];
  /** "direct" goes past the host's page cache (O_DIRECT). Default "cached". */
  readonly cache?: "cached" | "direct";
  /**
   * What an error of the file does: "report" gives it to the guest, "pause" pauses the machine until it can go on. A full
   * file system always pauses. Default "report".
   */
  readonly onError?: "report" | "pause";
  /** Request queues. Default: one for each CPU, at most 4. */
  readonly queues?: number;
  readonly limits?: DiskLimits;
}

/** The most that a disk may do; what is absent is not limited. */
export interface DiskLimits {
  readonly bytesPerSecond?: number;
  readonly operationsPerSecond?: number;
}

export interface CdromConfig {
  /** The image (ISO) that is in the drive; only read. Absent: the drive is empty. */
  readonly path?: string;
}

export interface NetworkConfig {
  /** Name of a tap interface that exists. */
  readonly tap: string;
  /** "52:54:00:12:34:56" */
  readonly mac: string;
  /** False keeps packets in the VMM even where the kernel has vhost-net. Default true. */
  readonly vhost?: boolean;
  /** Pairs of queues. Default: one for each CPU, at most 4, or one on a tap that has no more. */
  readonly queues?: number;
  readonly limits?: NetworkLimits;
}

/** The most that an interface may do, as the guest sees it; what is absent is not limited. */
export interface NetworkLimits {
  readonly receive?: NetworkRate | undefined;
  readonly transmit?: NetworkRate | undefined;
}

export interface NetworkRate {
  readonly bytesPerSecond: number;
  /** What may pass at once after a pause. Default: a quarter of a second's, at least 256 KiB. */
  readonly burstBytes?: number | undefined;
}

export interface ChannelConfig {
  /** What the guest knows it by: /dev/virtio-ports/NAME. */
  readonly name: string;
  readonly path: string;
}

export interface VsockConfig {
  /** The guest's context id, which no other VM of the host has: from 3. */
  readonly cid: number;
}

/** How a VMM process ends; through the debug exit it ends with the odd number that the guest's value stands for. */
export const VmmExit = {
  /** The guest powered off, or the VMM was told to stop. */
  PowerOff: 0,
  /** The VMM failed; the reason is on standard error and, when connected, on the control socket. */
  Failed: 1,
  /** The configuration or a file it names cannot be used. */
  BadConfig: 2,
} as const;
