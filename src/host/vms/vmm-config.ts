/** What a VMM is told to run, from what the VM's owner described. */
import type { DirectBoot, VmmConfig } from "../../vmm/config.ts";
import type { ImageStore } from "../storage/images.ts";
import type { RunDirectory } from "./run-directory.ts";
import type { VmRecord, VmSpec } from "./spec.ts";
import type { VmStore } from "./store.ts";

/** So that a guest without instructions shows itself on its serial port. */
const DEFAULT_COMMAND_LINE = "console=ttyS0";

export interface ConfigSources {
  readonly record: VmRecord;
  readonly images: Pick<ImageStore, "path">;
  readonly store: Pick<VmStore, "variablesPath">;
  readonly directory: Pick<RunDirectory, "serialSocket" | "controlSocket" | "vncSocket">;
  /** Names of the tap interfaces, one for each network. */
  readonly taps: readonly string[];
}

export function vmmConfig(sources: ConfigSources): VmmConfig {
  const { record, images, directory, taps } = sources;
  const { name, cpus, cpu, memoryBytes, memory, disks, networks, graphics } = record.spec;
  return {
    name,
    cpus,
    ...(cpu === undefined ? {} : { cpu }),
    memoryBytes,
    ...(memory === undefined ? {} : { memory }),
    boot: bootConfig(sources),
    disks: disks.map(({ image, readOnly }, i) => ({
      path: images.path(image),
      readOnly: readOnly ?? false,
      serial: `${record.id}-${i}`,
    })),
    networks: taps.map((tap, i) => {
      const { mac, vhost } = networks[i] as VmSpec["networks"][number];
      return { tap, mac, ...(vhost === undefined ? {} : { vhost }) };
    }),
    serial: { kind: "socket", path: directory.serialSocket },
    controlSocket: directory.controlSocket,
    ...(graphics === true ? { graphics: { kind: "vnc" as const, path: directory.vncSocket } } : {}),
  };
}

function bootConfig(sources: ConfigSources): VmmConfig["boot"] {
  const { record, images, store } = sources;
  const { boot } = record.spec;
  if ("firmware" in boot) {
    return {
      firmware: images.path(boot.firmware),
      nvram: store.variablesPath(record.id),
      ...(boot.bootOrder === undefined ? {} : { order: boot.bootOrder }),
      ...(boot.kernel === undefined ? {} : kernelConfig(boot.kernel, sources)),
    };
  }
  return kernelConfig(boot.kernel, sources);
}

function kernelConfig(kernel: string, { record, images }: ConfigSources): DirectBoot {
  const { boot } = record.spec;
  return {
    kernel: images.path(kernel),
    ...(boot.initrd === undefined ? {} : { initrd: images.path(boot.initrd) }),
    commandLine: boot.commandLine ?? DEFAULT_COMMAND_LINE,
  };
}
