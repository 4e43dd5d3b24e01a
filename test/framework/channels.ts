/** What tests of channels and vsock put into guests: Debian's guest agent and socat, on disks of their own. */
import type { ApiClient } from "../../src/rig/api-client.ts";
import { rootDisk } from "../../src/rig/guest/guest-system.ts";
import { programTree } from "../../src/rig/guest/program-tree.ts";
import { ensureImage, MiB } from "./test-vm.ts";

const diskBytes = 32 * MiB;

export const socatTree = (): string => programTree("socat", "/usr/bin/socat");

/** Root disk with Debian's qemu-ga; attach it read-only, boot with `root=/dev/vda ro`. Returns its image name. */
export function ensureAgentDisk(api: ApiClient): Promise<string> {
  return ensureDisk(api, "agent", programTree("qemu-guest-agent", "/usr/sbin/qemu-ga"));
}

/** Disk with socat, to be mounted and changed into (chroot). Returns its image name. */
export function ensureSocatDisk(api: ApiClient): Promise<string> {
  return ensureDisk(api, "socat", socatTree());
}

async function ensureDisk(api: ApiClient, name: string, tree: string): Promise<string> {
  const image = `${name}-root.img`;
  await ensureImage(api, image, await rootDisk({ name, sizeBytes: diskBytes, tree }));
  return image;
}
