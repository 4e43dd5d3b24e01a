/** A VM as its owner describes it, and as the host keeps it. */
import type { CpuModel, CpuTopology } from "../../base/cpu-topology.ts";
import type { DiskConfig, NetworkConfig, VsockConfig } from "../../vmm/config.ts";
import { RequestError } from "../http/errors.ts";

export interface VmDisk extends Pick<DiskConfig, "cache" | "onError" | "queues" | "limits"> {
  /** Name of an image. */
  readonly image: string;
  readonly readOnly?: boolean;
}

/** A CD drive; without an image it is empty. */
export interface VmCdrom {
  readonly image?: string | undefined;
}

export type VmNetwork = Omit<NetworkConfig, "tap">;

/** The VMM loads the kernel: names of images. */
export interface VmDirectBoot {
  readonly kernel: string;
  readonly initrd?: string;
  readonly commandLine?: string;
}

/** The guest starts with UEFI firmware. */
export interface VmFirmwareBoot {
  /** Name of the image with the firmware's code. */
  readonly firmware: string;
  /** Name of the image that the VM's own firmware variables were copied from when it was made. */
  readonly variables: string;
  /** What the firmware tries first: "disk0", "cdrom0", "network1". */
  readonly bootOrder?: readonly string[];
  /** Name of the image of a kernel that the firmware starts before anything else. */
  readonly kernel?: string;
  /** With `kernel` only. */
  readonly initrd?: string;
  /** With `kernel` only. */
  readonly commandLine?: string;
}

export interface VmCpu extends Partial<CpuTopology> {
  readonly model?: CpuModel;
  /** Names of features that the guest is not to see. */
  readonly disable?: readonly string[];
}

/** How the VM's memory is kept; what is absent is as docs/vmm-config.md says. */
export interface VmMemory {
  readonly hugePages?: boolean;
  readonly mergeable?: boolean;
  readonly freePageReporting?: boolean;
  /** What the balloon takes from the guest. */
  readonly balloonTargetBytes?: number;
  readonly statisticsSeconds?: number;
}

export interface VmSpec {
  readonly name: string;
  readonly cpus: number;
  readonly cpu?: VmCpu;
  readonly memoryBytes: number;
  readonly memory?: VmMemory | undefined;
  readonly boot: VmDirectBoot | VmFirmwareBoot;
  readonly disks: readonly VmDisk[];
  readonly cdroms?: readonly VmCdrom[] | undefined;
  readonly networks: readonly VmNetwork[];
  /** A display, shown by VNC. Default false. */
  readonly graphics?: boolean | undefined;
  /** Sockets between guest and host: the guest's context id. */
  readonly vsock?: VsockConfig | undefined;
}

/** How a VM last ended. */
export interface VmEnd {
  /** `guest-power-off`, `stopped`, `failed`, `bad-config`, `signal 9`, `lost`. */
  readonly cause: string;
  readonly message: string;
  readonly at: string;
}

/** What is kept of a VM on the datastore. */
export interface VmRecord {
  readonly id: string;
  readonly createdAt: string;
  readonly spec: VmSpec;
  readonly lastEnd?: VmEnd;
}

/** All images a VM needs while it exists, each with the field that names it. */
export function imagesOf(
  spec: VmSpec,
): { readonly image: string; readonly field: string; readonly writable: boolean }[] {
  const { boot } = spec;
  const bootImages: [string | undefined, string][] =
    "firmware" in boot ? [[boot.firmware, "boot.firmware"]] : [];
  bootImages.push([boot.kernel, "boot.kernel"], [boot.initrd, "boot.initrd"]);
  return [
    ...bootImages.flatMap(([image, field]) =>
      image === undefined ? [] : [{ image, field, writable: false }],
    ),
    ...spec.disks.map(({ image, readOnly }, i) => ({
      image,
      field: `disks[${i}].image`,
      writable: readOnly !== true,
    })),
    ...(spec.cdroms ?? []).flatMap(({ image }, i) =>
      image === undefined ? [] : [{ image, field: `cdroms[${i}].image`, writable: false }],
    ),
  ];
}

/** Throws RequestError (400) when the balloon is to take more than the VM has. */
export function checkBalloon({ memory, memoryBytes }: Pick<VmSpec, "memory" | "memoryBytes">): void {
  if ((memory?.balloonTargetBytes ?? 0) <= memoryBytes) return;
  const field = "memory.balloonTargetBytes";
  throw new RequestError(400, "invalid_request", `${field} is more than the VM's memoryBytes.`, field);
}
