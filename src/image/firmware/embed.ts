/**
 * Puts the image into a UEFI ROM: as an application in the volume that the DXE phase runs from, under the name of a file
 * that the firmware's boot manager starts by itself, the UEFI Shell.
 *
 * Nothing else changes: modules to be given up become pad files, everything keeps its place, and the result is read
 * again and compared (verify.ts) before anybody gets it.
 */
import { ThimbleError } from "../../base/errors.ts";
import { assembleImage, freeBytes } from "./assemble.ts";
import { applicationFile, editImage } from "./edit.ts";
import { fileMachine, machineName, programMachine } from "./executable.ts";
import { FILE_TYPE_DXE_CORE } from "./format.ts";
import type { Guid } from "./guid.ts";
import { chooseFiles } from "./optional.ts";
import { isAll } from "./read-context.ts";
import { capsuleName, flashRegions } from "./regions.ts";
import { type FirmwareFile, type FirmwareImage, moduleName, type Volume } from "./tree.ts";
import { verifyChange } from "./verify.ts";
import { visitImage } from "./walk.ts";

/** The UEFI Shell's file: edk2's boot manager makes a boot option of it by itself. */
export const SHELL_FILE: Guid = "7C04A583-9E3E-4F1C-AD65-E05268D0B4D1";
/** The Shell, and the older EFI Shell that some vendors' setup menus offer. */
const shellFiles: ReadonlySet<Guid> = new Set([SHELL_FILE, "C57AD6B7-0515-40A8-9D21-551652854E37"]);

/** The reset vector of an x86 processor is in the last 16 bytes of the flash. */
const RESET_VECTOR_BYTES = 16;
const x86Machines: ReadonlySet<string> = new Set(["IA32", "X64"]);

export interface EmbedOptions {
  /** The image: a PE file. */
  readonly image: Uint8Array;
  /** Modules to give up: names of groups, modules or files. */
  readonly drop?: readonly string[];
  /** The file whose place the image takes, by module name or GUID; default: the Shell. */
  readonly place?: string;
  /** Go on when parts of the ROM cannot be read, as long as nothing in those has to change. */
  readonly keepUnreadable?: boolean;
}

export interface Embedding {
  readonly rom: Uint8Array;
  /** The image's file name, which boot options name. */
  readonly fileName: Guid;
  /** The module whose place the image took; undefined when the firmware had none such. */
  readonly replaced: string | undefined;
  /** Modules that were given up, by name. */
  readonly dropped: readonly string[];
  /** What is left in the flash volume that the image is in. */
  readonly freeBytes: number;
}

/** Where the image goes. */
interface Home {
  readonly volume: Volume;
  readonly part: number;
  /** The file whose place it takes. */
  readonly file: FirmwareFile | undefined;
}

function refuse(code: string, message: string): ThimbleError {
  return new ThimbleError(code, message);
}

function isShell(file: FirmwareFile): boolean {
  return shellFiles.has(file.name) || moduleName(file) === "Shell";
}

/** Every file with the volume and the part of the image that it is in, for which `chosen` says so. */
function filesWhere(image: FirmwareImage, chosen: (file: FirmwareFile) => boolean): Home[] {
  const found: Home[] = [];
  for (const [part, node] of image.parts.entries()) {
    visitImage(
      { parts: [node] },
      {
        file(file, volume) {
          if (chosen(file)) found.push({ volume, part, file });
        },
      },
    );
  }
  return found;
}

/** Errors: `not_uefi_firmware`, `no_dxe_volume`, `module_not_found`, `ambiguous_firmware`. */
function findHome(image: FirmwareImage, place: string | undefined): Home {
  if (!image.parts.some((part) => part.kind === "volume")) {
    throw refuse("not_uefi_firmware", "The ROM has no firmware volumes: it is not UEFI firmware.");
  }
  const one = (found: readonly Home[], what: string): Home | undefined => {
    if (found.length < 2) return found[0];
    throw refuse(
      "ambiguous_firmware",
      `The ROM has ${found.length} ${what}: name the file whose place the image takes.`,
    );
  };
  if (place !== undefined) {
    const found = one(filesWhere(image, chooseFiles(image, [place])), `files "${place}"`);
    return found as Home; // chooseFiles found it
  }
  const cores = filesWhere(image, (file) => file.type === FILE_TYPE_DXE_CORE);
  if (cores.length === 0) {
    throw refuse(
      "no_dxe_volume",
      "The ROM has no DXE core: it is only a part of UEFI firmware, such as its variables.",
    );
  }
  const shell = one(filesWhere(image, isShell), "files that are a UEFI Shell");
  if (shell !== undefined) return shell;
  const core = one(cores, "DXE cores") as Home;
  return { ...core, file: undefined };
}

/** Errors: `is_capsule`, `rom_truncated`, `rom_damaged`. */
function checkRom(rom: Uint8Array, image: FirmwareImage, keepUnreadable: boolean): void {
  const capsule = capsuleName(rom);
  if (capsule !== undefined) {
    throw refuse(
      "is_capsule",
      `The file is an update (${capsule}), not the content of a flash chip. Its signature would break: ` +
        "read the flash chip itself and use that.",
    );
  }
  for (const { name, offset, sizeBytes } of flashRegions(rom) ?? []) {
    if (offset + sizeBytes <= rom.length) continue;
    throw refuse(
      "rom_truncated",
      `The flash descriptor says that the ${name} region ends at ${offset + sizeBytes}, but the ROM has ${rom.length} bytes.`,
    );
  }
  const [first] = image.problems;
  if (first !== undefined && !keepUnreadable) {
    throw refuse("rom_damaged", `The ROM is damaged, or holds something not known here. ${first.message}`);
  }
}

/** Errors: `wrong_machine`, `not_an_efi_program`, `rom_truncated`. */
function checkMachine(rom: Uint8Array, home: Home, image: Uint8Array): void {
  const machine = programMachine(image);
  const own = home.volume.files.map(fileMachine).find((each) => each !== undefined);
  if (own !== undefined && own !== machine) {
    throw refuse(
      "wrong_machine",
      `The firmware runs ${machineName(own)} programs, the image is one for ${machineName(machine)}.`,
    );
  }
  const last = rom.subarray(-RESET_VECTOR_BYTES);
  if (x86Machines.has(machineName(machine)) && (isAll(last, 0xff) || isAll(last, 0))) {
    throw refuse(
      "rom_truncated",
      "The ROM ends in erased bytes, where an x86 processor starts: its end is missing.",
    );
  }
}

/** The outermost volume that holds the image: a piece of flash. */
function flashVolume(image: FirmwareImage, part: number): Volume {
  const volume = image.parts[part];
  if (volume?.kind !== "volume") throw new Error(`part ${part} of the image is no volume`);
  return volume;
}

/**
 * The ROM with the image in it. `parsed` is what parseImage made of `rom`.
 * Errors: those of the checks above, `volume_full` with the numbers, `volume_not_growable`, `signed_section`,
 * `file_too_large`, `rom_not_verified`, `xz_failed`.
 */
export function embedImage(rom: Uint8Array, parsed: FirmwareImage, options: EmbedOptions): Embedding {
  checkRom(rom, parsed, options.keepUnreadable ?? false);
  const home = findHome(parsed, options.place);
  checkMachine(rom, home, options.image);
  const chosen = chooseFiles(parsed, options.drop ?? []);
  const gone = new Set<FirmwareFile>();
  for (const found of filesWhere(parsed, (file) => file === home.file || chosen(file))) {
    const damaged = parsed.problems.find((problem) => problem.part === found.part);
    if (damaged !== undefined)
      throw refuse("rom_damaged", `What has to change is damaged. ${damaged.message}`);
    gone.add(found.file as FirmwareFile);
  }
  const damaged = parsed.problems.find((problem) => problem.part === home.part);
  if (damaged !== undefined) throw refuse("rom_damaged", `What has to change is damaged. ${damaged.message}`);

  const fileName = home.file?.name ?? SHELL_FILE;
  const file = applicationFile(fileName, options.image, home.volume.eraseByte);
  const edited = editImage(parsed, {
    drops: (each) => gone.has(each),
    addition: { volume: home.volume, file },
  });
  const bytes = assembleImage(edited);
  verifyChange(parsed, edited, bytes, { gone, added: new Set([file]) });
  const nameOf = (each: FirmwareFile): string => moduleName(each) ?? each.name;
  return {
    rom: bytes,
    fileName,
    replaced: home.file === undefined ? undefined : nameOf(home.file),
    dropped: [...gone].filter((each) => each !== home.file).map(nameOf),
    freeBytes: freeBytes(flashVolume(edited, home.part)),
  };
}
