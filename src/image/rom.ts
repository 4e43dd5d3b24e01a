/**
 * The flash ROM: a stock OVMF with the image in its DXE volume, in the place of the UEFI Shell. OVMF's boot manager
 * starts that file from the volume when no other boot option is there: no menu, no drive, no NVRAM setting.
 *
 * Room comes from modules that a diskless host's firmware does not need, given up level by level until the image
 * fits (docs/decisions/0007-image-in-the-dxe-volume.md has the numbers).
 */
import { ThimbleError } from "../base/errors.ts";
import { assembleImage, freeBytes, packImage } from "./firmware/assemble.ts";
import { applicationFile, replaceFile, replaceWithPads } from "./firmware/edit.ts";
import { parseImage } from "./firmware/parse.ts";
import { type FirmwareImage, moduleName } from "./firmware/tree.ts";

/** The UEFI Shell's file; the boot manager makes a boot option of it by itself. */
const SHELL_FILE = "7C04A583-9E3E-4F1C-AD65-E05268D0B4D1";

export interface GiveUpLevel {
  readonly name: string;
  /** For people: what the firmware can no longer do, beyond the levels before. */
  readonly loses: string;
  /** Modules by their UI name, beyond those of the levels before. */
  readonly modules: readonly string[];
}

/** In the order in which they are given up; each level includes those before it. */
export const giveUpLevels: readonly GiveUpLevel[] = [
  { name: "shell", loses: "the UEFI Shell, whose place the image takes", modules: [] },
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

export interface RomOptions {
  /** Stock OVMF, its code part. */
  readonly ovmfCode: Uint8Array;
  /** Stock OVMF, its variables part. */
  readonly ovmfVars: Uint8Array;
  /** The image: a PE file. */
  readonly image: Uint8Array;
  /** Name of a give-up level; default: the first that fits. */
  readonly level?: string;
}

export interface Rom {
  readonly code: Uint8Array;
  readonly vars: Uint8Array;
  readonly level: GiveUpLevel;
  /** What the outer volume has left: the image can grow by about this much at this level. */
  readonly freeBytes: number;
}

/** The firmware of a level without the image: given-up modules are pad files. Errors: `unknown_give_up_level`. */
function firmwareAtLevel(stock: FirmwareImage, level: GiveUpLevel): FirmwareImage {
  const last = giveUpLevels.indexOf(level);
  const given = new Set(giveUpLevels.slice(0, last + 1).flatMap((each) => each.modules));
  return replaceWithPads(stock, (file) => given.has(moduleName(file) ?? ""));
}

function levelsToTry(name: string | undefined): readonly GiveUpLevel[] {
  if (name === undefined) return giveUpLevels;
  const level = giveUpLevels.find((each) => each.name === name);
  if (level === undefined) {
    const names = giveUpLevels.map((each) => each.name).join(", ");
    throw new ThimbleError("unknown_give_up_level", `"${name}" is no give-up level. Levels: ${names}.`);
  }
  return [level];
}

/** Free bytes of the volume that holds all the rest: the first of the flash. Negative: so much too little. */
function outerFreeBytes(firmware: FirmwareImage): number {
  const outer = firmware.parts.find((part) => part.kind === "volume" && part.files.length > 0);
  if (outer?.kind !== "volume") throw new ThimbleError("not_ovmf", "The firmware has no volume with files.");
  return freeBytes(outer);
}

/**
 * Builds the flash ROM at the least give-up level that has room for the image.
 * Errors: `image_does_not_fit` with the bytes missing, `unknown_give_up_level`, `firmware_file_not_found`, and those
 * of `parseImage`.
 */
export function buildRom(options: RomOptions): Rom {
  const stock = parseImage(options.ovmfCode);
  const misses: string[] = [];
  for (const level of levelsToTry(options.level)) {
    const reduced = firmwareAtLevel(stock, level);
    const firmware = replaceFile(reduced, SHELL_FILE, applicationFile(SHELL_FILE, options.image));
    const packed = packImage(firmware);
    const free = outerFreeBytes(packed);
    if (free >= 0) return { code: assembleImage(packed), vars: options.ovmfVars, level, freeBytes: free };
    misses.push(`${-free} bytes too large at level "${level.name}"`);
  }
  throw new ThimbleError(
    "image_does_not_fit",
    `The image of ${options.image.length} bytes does not fit the ${options.ovmfCode.length} bytes of firmware: ` +
      `${misses.join(", ")}. Make the image smaller (npm run size).`,
  );
}
