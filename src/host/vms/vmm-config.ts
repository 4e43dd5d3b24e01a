/** From a VM's description to its VMM's configuration: names become paths. */
import type { DirectBoot, VmmConfig } from "../../vmm/config.ts";
import type { ImageStore } from "../storage/images.ts";
import type { RunDirectory } from "./run-directory.ts";
import type { VmRecord, VmSpec } from "./spec.ts";
import type { VmStore } from "./store.ts";

/** So that a guest without instructions shows itself on its serial port. */
const DEFAULT_COMMAND_LINE = "console=ttyS0";

/** Where the QEMU guest agent looks for its host. */
const AGENT_CHANNEL = "org.qemu.guest_agent.0";

interface Stores {
  readonly images: ImageStore;
  readonly store: VmStore;
}

/** `taps` are the interfaces made for the VM's networks, in their order. */
export function vmmConfig(
  { id, spec }: VmRecord,
  taps: readonly string[],
  directory: RunDirectory,
  stores: Stores,
): VmmConfig {
  const { name, cpus, cpu, memoryBytes, memory, disks, cdroms, networks, graphics, vsock } = spec;
  return {
    name,
    cpus,
    ...(cpu === undefined ? {} : { cpu }),
    memoryBytes,
    ...(memory === undefined ? {} : { memory }),
    boot: bootConfig(id, spec, stores),
    disks: disks.map(({ image, readOnly, ...rest }, i) => {
      const { format, backing } = stores.images.diskFiles(image, `disks[${i}].image`);
      return {
        path: stores.images.path(image),
        readOnly: readOnly ?? false,
        serial: `${id}-${i}`,
        ...(format === "raw" ? {} : { format, backing }),
        ...rest,
      };
    }),
    ...(cdroms === undefined
      ? {}
      : {
          cdroms: cdroms.map(({ image }) => (image === undefined ? {} : { path: stores.images.path(image) })),
        }),
    networks: taps.map((tap, i) => ({ tap, ...(networks[i] as VmSpec["networks"][number]) })),
    serial: { kind: "socket", path: directory.serialSocket },
    controlSocket: directory.controlSocket,
    channels: [{ name: AGENT_CHANNEL, path: directory.agentSocket }],
    ...(vsock === undefined ? {} : { vsock }),
    ...(graphics === true ? { graphics: { kind: "vnc" as const, path: directory.vncSocket } } : {}),
  };
}

function bootConfig(id: string, { boot }: VmSpec, { images, store }: Stores): VmmConfig["boot"] {
  if (!("firmware" in boot)) return kernelConfig(boot, boot.kernel, images);
  const { firmware, bootOrder, kernel } = boot;
  return {
    firmware: images.path(firmware),
    nvram: store.variablesPath(id),
    ...(bootOrder === undefined ? {} : { order: bootOrder }),
    ...(kernel === undefined ? {} : kernelConfig(boot, kernel, images)),
  };
}

function kernelConfig(boot: VmSpec["boot"], kernel: string, images: ImageStore): DirectBoot {
  return {
    kernel: images.path(kernel),
    ...(boot.initrd === undefined ? {} : { initrd: images.path(boot.initrd) }),
    commandLine: boot.commandLine ?? DEFAULT_COMMAND_LINE,
  };
}
