/** A VM as its owner describes it, and as the host keeps it. */

export interface VmDisk {
  /** Name of an image. */
  readonly image: string;
  readonly readOnly?: boolean;
}

export interface VmNetwork {
  readonly mac: string;
  readonly vhost?: boolean;
}

export interface VmSpec {
  readonly name: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly boot: { readonly kernel: string; readonly initrd?: string; readonly commandLine?: string };
  readonly disks: readonly VmDisk[];
  readonly networks: readonly VmNetwork[];
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

/** All images a VM refers to, each with the field that names it. */
export function imagesOf(
  spec: VmSpec,
): { readonly image: string; readonly field: string; readonly writable: boolean }[] {
  const { kernel, initrd } = spec.boot;
  return [
    { image: kernel, field: "boot.kernel", writable: false },
    ...(initrd === undefined ? [] : [{ image: initrd, field: "boot.initrd", writable: false }]),
    ...spec.disks.map(({ image, readOnly }, i) => ({
      image,
      field: `disks[${i}].image`,
      writable: readOnly !== true,
    })),
  ];
}
