/** Where in a ROM the image goes: the volume, and the file whose place it takes. */
import { ThimbleError } from "../../base/errors.ts";
import { FILE_TYPE_DXE_CORE } from "./format.ts";
import type { Guid } from "./guid.ts";
import { chooseFiles } from "./optional.ts";
import { type FirmwareFile, type FirmwareImage, moduleName, type Volume } from "./tree.ts";
import { visitImage } from "./walk.ts";

/** The UEFI Shell's file: edk2's boot manager makes a boot option of it by itself. */
export const SHELL_FILE: Guid = "7C04A583-9E3E-4F1C-AD65-E05268D0B4D1";
/** The Shell, and the older EFI Shell that some vendors' setup menus offer. */
const shellFiles: ReadonlySet<Guid> = new Set([SHELL_FILE, "C57AD6B7-0515-40A8-9D21-551652854E37"]);

export interface Home {
  readonly volume: Volume;
  /** The volume in the flash that this one is, or is in. */
  readonly flashVolume: Volume;
  /** The file whose place the image takes. */
  readonly file: FirmwareFile | undefined;
}

/** A file, and where it is. */
type Found = Home & { readonly file: FirmwareFile };

/** The parts of an image that are looked at. */
type Scope = Pick<FirmwareImage, "parts">;

function refuse(code: string, message: string): ThimbleError {
  return new ThimbleError(code, message);
}

/** The image, or only the volume that starts there. Errors: `volume_not_found`. */
export function scopeOf(image: FirmwareImage, volumeAt: number | undefined): Scope {
  if (volumeAt === undefined) return image;
  let offset = 0;
  for (const part of image.parts) {
    if (offset === volumeAt && part.kind === "volume") return { parts: [part] };
    offset += part.kind === "volume" ? part.sizeBytes : part.data.length;
  }
  throw refuse("volume_not_found", `No volume starts at 0x${volumeAt.toString(16)} of the ROM.`);
}

/** Whether a file is a UEFI Shell, by its GUID or its name. */
export function isShell(file: FirmwareFile): boolean {
  return shellFiles.has(file.name) || moduleName(file) === "Shell";
}

/** Every file for which `chosen` says so. */
export function filesWhere({ parts }: Scope, chosen: (file: FirmwareFile) => boolean): Found[] {
  return parts.flatMap((part) => {
    const found: Found[] = [];
    if (part.kind !== "volume") return found;
    const file = (each: FirmwareFile, volume: Volume): void => {
      if (chosen(each)) found.push({ volume, flashVolume: part, file: each });
    };
    visitImage({ parts: [part] }, { file });
    return found;
  });
}

function onlyOne(found: readonly Found[], what: string): Found | undefined {
  if (found.length < 2) return found[0];
  throw refuse(
    "ambiguous_firmware",
    `The ROM has ${found.length} ${what}: say which file's place the image takes, or in which volume.`,
  );
}

/**
 * Finds the place: of the file that is named, otherwise of the Shell, otherwise in the volume of the DXE core.
 * Errors: `not_uefi_firmware`, `no_dxe_volume`, `module_not_found`, `ambiguous_firmware`.
 */
export function findHome(scope: Scope, place: string | undefined): Home {
  if (!scope.parts.some((part) => part.kind === "volume")) {
    throw refuse("not_uefi_firmware", "The ROM has no firmware volumes: it is not UEFI firmware.");
  }
  if (place !== undefined) {
    const found = onlyOne(filesWhere(scope, chooseFiles(scope, [place])), `files "${place}"`);
    if (found !== undefined) return found;
    throw refuse("module_not_found", `The firmware has no module "${place}".`); // a group of which it has none
  }
  const cores = filesWhere(scope, (file) => file.type === FILE_TYPE_DXE_CORE);
  if (cores.length === 0) {
    throw refuse(
      "no_dxe_volume",
      "The ROM has no DXE core: it is only a part of UEFI firmware, such as its variables.",
    );
  }
  const shell = onlyOne(filesWhere(scope, isShell), "files that are a UEFI Shell");
  if (shell !== undefined) return shell;
  const core = onlyOne(cores, "DXE cores") as Found;
  return { ...core, file: undefined };
}
