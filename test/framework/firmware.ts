/** What tests of guest firmware upload: Debian's OVMF and UEFI shell, unmodified. */
import { join } from "node:path";
import { debPackage } from "../../src/image/sources.ts";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { VmSpec } from "../../src/rig/api-types.ts";
import { ensureImage } from "./test-vm.ts";

type Suite = "bookworm" | "trixie";

/** Uploads OVMF of a Debian release and gives the `boot` of a VM that starts with it. */
export async function uploadFirmware(
  api: ApiClient,
  suite: Suite = "bookworm",
): Promise<{ readonly firmware: string; readonly variables: string }> {
  const folder = join(await debPackage("ovmf", suite), "usr/share/OVMF");
  const boot = { firmware: `ovmf-code-${suite}`, variables: `ovmf-vars-${suite}` };
  await ensureImage(api, boot.firmware, join(folder, "OVMF_CODE_4M.fd"));
  await ensureImage(api, boot.variables, join(folder, "OVMF_VARS_4M.fd"));
  return boot satisfies VmSpec["boot"];
}

/** Path of the UEFI shell as an EFI program. */
export async function uefiShell(): Promise<string> {
  return join(await debPackage("efi-shell-x64", "trixie"), "usr/share/efi-shell-x64/shellx64.efi");
}
