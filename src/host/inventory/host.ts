/** The host itself, from /proc. */
import { VERSION } from "../../base/version.ts";

import type { Files, Platform } from "../platform/platform.ts";
import type { HostNetwork } from "../vms/host-network.ts";

export interface MemoryFacts {
  readonly totalBytes: number;
  /** What can be handed out without swapping: free memory and caches that can be dropped. */
  readonly availableBytes: number;
}

export interface HostFacts {
  readonly name: string;
  readonly version: string;
  readonly kernel: string;
  readonly uptimeMs: number;
  readonly bootMs: number;
  readonly addresses: readonly { readonly interface: string; readonly address: string }[];
  readonly cpus: { readonly count: number; readonly model: string };
  readonly memory: MemoryFacts;
  readonly accelerator: "kvm";
}

export function readMemory(files: Pick<Files, "readText">): MemoryFacts {
  const text = files.readText("/proc/meminfo");
  const bytes = (name: string) => Number(new RegExp(`^${name}: +(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
  return { totalBytes: bytes("MemTotal"), availableBytes: bytes("MemAvailable") };
}

/** `bootMs` is how long it took from the kernel's start to the API's first answer. */
export function readHost(
  platform: Pick<Platform, "files" | "uptimeMs">,
  network: Pick<HostNetwork, "addresses">,
  bootMs: number,
): HostFacts {
  const { files } = platform;
  const cpuinfo = files.readText("/proc/cpuinfo");
  return {
    name: files.readText("/proc/sys/kernel/hostname").trim().replace("(none)", "thimble"),
    version: VERSION,
    kernel: files.readText("/proc/sys/kernel/osrelease").trim(),
    uptimeMs: Math.round(platform.uptimeMs()),
    bootMs,
    addresses: network.addresses(),
    cpus: {
      count: cpuinfo.match(/^processor\s*:/gm)?.length ?? 1,
      model: /^model name\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? "unknown",
    },
    memory: readMemory(files),
    accelerator: "kvm",
  };
}
