/** Modules that a diskless host's firmware can do without, in groups; and how modules are named on a command line. */
import { ThimbleError } from "../../base/errors.ts";
import { type FirmwareFile, type FirmwareImage, moduleName } from "./tree.ts";
import { visitImage } from "./walk.ts";

export interface OptionalGroup {
  readonly name: string;
  /** For people: what the firmware can no longer do without them. */
  readonly loses: string;
  /** Modules by their UI name. */
  readonly modules: readonly string[];
}

/** In the order in which they are given up. edk2's names, which most vendors keep. */
export const optionalGroups: readonly OptionalGroup[] = [
  {
    name: "network",
    loses: "network boot (PXE, HTTP, iSCSI) and the Shell's extra commands",
    modules: [
      ...["TlsDxe", "TlsAuthConfigDxe", "IScsiDxe", "HttpBootDxe", "HttpDxe", "HttpUtilitiesDxe", "DnsDxe"],
      ...["UefiPxeBcDxe", "TcpDxe", "Mtftp6Dxe", "Udp6Dxe", "Ip6Dxe", "Dhcp6Dxe", "Mtftp4Dxe", "Udp4Dxe"],
      ...["Ip4Dxe", "Dhcp4Dxe", "ArpDxe", "MnpDxe", "VlanConfigDxe", "SnpDxe", "DpcDxe"],
      ...["VirtioNetDxe", "VirtioFsDxe"],
      ...["tftpDynamicCommand", "httpDynamicCommand", "LinuxInitrdDynamicShellCommand"],
    ],
  },
  {
    name: "setup",
    loses: "the setup menus, RAM disks, EFI byte code and UDF",
    modules: [
      ...["UiApp", "SetupBrowser", "DisplayEngine", "RamDiskDxe", "EbcDxe", "UdfDxe"],
      ...["DriverHealthManagerDxe", "Tcg2ConfigDxe"],
    ],
  },
  {
    name: "drives",
    loses: "booting from drives and USB, TPM measurement, paravirtual devices",
    modules: [
      ...["UhciDxe", "EhciDxe", "XhciDxe", "UsbBusDxe", "UsbKbDxe", "UsbMassStorageDxe"],
      ...["ScsiBus", "ScsiDisk", "SataController", "AtaAtapiPassThruDxe", "AtaBusDxe", "NvmExpressDxe"],
      ...["VirtioBlkDxe", "VirtioScsiDxe", "VirtioGpuDxe", "TcgDxe", "Tcg2Dxe", "Tcg2PlatformDxe"],
    ],
  },
];

/** The group that a module is in. */
export function groupOf(file: FirmwareFile): OptionalGroup | undefined {
  const name = moduleName(file);
  return name === undefined ? undefined : optionalGroups.find((group) => group.modules.includes(name));
}

/**
 * Chooses files by names: of a group, of a module (its UI section) or of a file (its GUID); letters may be large or small.
 * Errors: `module_not_found` for a name that nothing in the image has.
 */
export function chooseFiles(
  image: Pick<FirmwareImage, "parts">,
  names: readonly string[],
): (file: FirmwareFile) => boolean {
  const wanted = new Map<string, boolean>(); // name → seen in the image
  for (const name of names) {
    const group = optionalGroups.find((each) => each.name === name.toLowerCase());
    // Of a group, an image may lack some or all.
    for (const module of group?.modules ?? []) wanted.set(module.toLowerCase(), true);
    if (group === undefined) wanted.set(name.toLowerCase(), false);
  }
  const nameIn = (file: FirmwareFile): string | undefined =>
    [file.name, moduleName(file)].map((name) => name?.toLowerCase() ?? "").find((name) => wanted.has(name));
  visitImage(image, {
    file(file) {
      const name = nameIn(file);
      if (name !== undefined) wanted.set(name, true);
    },
  });
  const missing = [...wanted].filter(([, seen]) => !seen).map(([name]) => `"${name}"`);
  if (missing.length > 0) {
    const groups = optionalGroups.map((group) => group.name).join(", ");
    throw new ThimbleError(
      "module_not_found",
      `The firmware has no module ${missing.join(", ")}, and there is no such group (groups: ${groups}).`,
    );
  }
  return (file) => nameIn(file) !== undefined;
}
