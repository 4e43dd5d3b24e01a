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
import { hasBootGuard } from "./fit.ts";
import type { Guid } from "./guid.ts";
import { filesWhere, findHome, type Home, SHELL_FILE, scopeOf } from "./home.ts";
import { chooseFiles } from "./optional.ts";
import { isAll } from "./read-context.ts";
import { capsuleName, flashRegions } from "./regions.ts";
import { type FirmwareFile, type FirmwareImage, moduleName, type Volume } from "./tree.ts";
import { verifyChange } from "./verify.ts";

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
  /** Where the volume starts in the ROM that all this is about; default: the only one that has what is sought. */
  readonly volumeAt?: number;
  /** Go on when parts of the ROM cannot be read: they stay as they are. */
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
  /** Whether Intel Boot Guard checks the flash: the new ROM might not start. */
  readonly bootGuard: boolean;
  /** What is left in the flash volume that the image is in. */
  readonly freeBytes: number;
}

function refuse(code: string, message: string): ThimbleError {
  return new ThimbleError(code, message);
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
    throw refuse("rom_damaged", `The ROM is damaged, or holds something not known here. ${first}`);
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

/**
 * The ROM with the image in it. `parsed` is what parseImage made of `rom`.
 * Errors: those of the checks above and of `findHome`, `volume_full` with the numbers, `volume_not_growable`, `signed_section`,
 * `file_too_large`, `rom_not_verified`, `xz_failed`.
 */
export function embedImage(rom: Uint8Array, parsed: FirmwareImage, options: EmbedOptions): Embedding {
  checkRom(rom, parsed, options.keepUnreadable ?? false);
  const scope = scopeOf(parsed, options.volumeAt);
  const home = findHome(scope, options.place);
  checkMachine(rom, home, options.image);
  const chosen = chooseFiles(scope, options.drop ?? []);
  const gone = new Set<FirmwareFile>();
  for (const { file } of filesWhere(scope, (each) => each === home.file || chosen(each))) gone.add(file);

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
    bootGuard: hasBootGuard(rom),
    freeBytes: freeBytes(edited.parts[parsed.parts.indexOf(home.flashVolume)] as Volume),
  };
}
