/** `thimble image`: what is in a ROM, the image into a ROM, the image signed, a disk, what it is made of. */
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { ThimbleError } from "../base/errors.ts";
import { STATE_BYTES_MIN, writeDiskImage } from "../image/disk-form/disk-image.ts";
import { type Embedding, embedImage } from "../image/firmware/embed.ts";
import { inspectRom } from "../image/firmware/inspect.ts";
import { BOOT_GUARD, formatRomReport } from "../image/firmware/inspect-text.ts";
import { parseImage, ROM_BYTES_MAX } from "../image/firmware/parse.ts";
import { VolumeFullError } from "../image/firmware/place.ts";
import { dropGains } from "../image/firmware/room.ts";
import type { FirmwareImage } from "../image/firmware/tree.ts";
import { readIdentity } from "../image/identity.ts";
import { repositoryRoot } from "../image/profile.ts";
import { buildSelector } from "../image/selector/build.ts";
import { readSigner, signImage } from "../image/signing/authenticode.ts";
import type { Output } from "./command.ts";

interface InspectFlags {
  readonly json?: boolean;
  readonly sections?: boolean;
}

interface EmbedFlags {
  readonly rom: string;
  readonly out: string;
  readonly image: string;
  readonly drop?: readonly string[];
  readonly place?: string;
  readonly volume?: number;
  readonly keepUnreadable?: boolean;
  readonly json?: boolean;
}

interface SignFlags {
  readonly key: string;
  readonly cert: string;
  readonly out: string;
}

interface DiskFlags {
  readonly out: string;
  readonly image: string;
  readonly stateSize: number;
  readonly key?: string;
  readonly cert?: string;
}

const STATE_MIB_DEFAULT = 64;
/** It is made in memory. */
const STATE_MIB_MAX = 1024;

/** Reads a file that is small enough to be a ROM. Errors: `file_not_readable`, `rom_too_large`. */
async function readRom(path: string): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size <= ROM_BYTES_MAX) return await readFile(path);
    throw new ThimbleError("rom_too_large", `${path} has ${size} bytes: no ROM is over ${ROM_BYTES_MAX}.`);
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError("file_not_readable", `${path} can't be read: ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

/** Writes a file that is there whole or not at all. */
async function writeWhole(path: string, data: Uint8Array): Promise<void> {
  const partial = `${path}.partial-${process.pid}`;
  try {
    await writeFile(partial, data);
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw new ThimbleError("file_not_writable", `${path} can't be written: ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

async function inspect(path: string, flags: InspectFlags, output: Output): Promise<void> {
  const report = inspectRom(await readRom(path));
  output.print(
    flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : formatRomReport(report, flags.sections),
  );
  if (report.problems.length > 0) {
    throw new ThimbleError(
      "rom_damaged",
      `${path} could not be read as a whole (problems are listed above).`,
    );
  }
}

async function embed(flags: EmbedFlags, output: Output): Promise<void> {
  if (resolve(flags.rom) === resolve(flags.out)) {
    throw new ThimbleError("same_file", "The new ROM must be another file than the old one: keep that.");
  }
  const rom = await readRom(flags.rom);
  const image = await readRom(flags.image);
  const parsed = parseImage(rom);
  const { drop, place, keepUnreadable, volume: volumeAt } = flags;
  let made: Embedding;
  try {
    made = embedImage(rom, parsed, { image, drop, place, volumeAt, keepUnreadable });
  } catch (error) {
    if (error instanceof VolumeFullError) throw doesNotFit(image.length, parsed, error);
    throw error;
  }
  await writeWhole(flags.out, made.rom);
  const { rom: _, ...facts } = made;
  output.print(
    flags.json === true ? `${JSON.stringify(facts, null, 2)}\n` : embeddingText(flags, image.length, made),
  );
}

/** A number as inspect prints it, or a decimal one. */
function parseOffset(text: string): number {
  if (/^(0x[0-9a-f]+|[0-9]+)$/i.test(text)) return Number(text);
  throw new InvalidArgumentError("It has to be a number, such as 0x84000.");
}

/** Says what is missing, and what giving up modules would bring. */
function doesNotFit(imageBytes: number, parsed: FirmwareImage, error: VolumeFullError): ThimbleError {
  const groups = dropGains(parsed).filter(({ group }) => group !== "shell"); // its place is taken already
  const gains = groups.map(({ group, bytes, loses }) => `  --drop ${group}: about ${bytes} (${loses})`);
  const more =
    gains.length === 0 ? "" : `\nBytes that giving up modules would make free:\n${gains.join("\n")}`;
  return new ThimbleError(
    "image_does_not_fit",
    `The image of ${imageBytes} bytes does not fit: ${error.missingBytes} bytes are missing.${more}`,
    { cause: error },
  );
}

function embeddingText(flags: EmbedFlags, imageBytes: number, made: Embedding): string {
  const lines = [
    `${flags.out}: the image of ${imageBytes} bytes is in it, ${made.freeBytes} bytes are left.`,
  ];
  if (made.replaced === undefined) {
    lines.push(`The firmware had no UEFI Shell: it may need a boot option for the file ${made.fileName}.`);
  } else lines.push(`It took the place of ${made.replaced} (${made.fileName}).`);
  if (made.dropped.length > 0) lines.push(`Given up: ${made.dropped.join(", ")}.`);
  if (made.bootGuard) lines.push(BOOT_GUARD);
  return `${lines.join("\n")}\n`;
}

async function sign(path: string, flags: SignFlags, output: Output): Promise<void> {
  const signer = readSigner(await readRom(flags.key), await readRom(flags.cert));
  const signed = signImage(await readRom(path), signer);
  await writeWhole(flags.out, signed);
  output.print(
    `${flags.out}: ${signed.length} bytes, signed by ${signer.certificate.subject.replaceAll("\n", ", ")}.\n`,
  );
}

async function disk(flags: DiskFlags, output: Output): Promise<void> {
  const { key, cert } = flags;
  if ((key === undefined) !== (cert === undefined)) {
    throw new ThimbleError("bad_option", "--key and --cert belong together.");
  }
  const signer = key && cert ? readSigner(await readRom(key), await readRom(cert)) : undefined;
  const sign = (program: Uint8Array) => (signer === undefined ? program : signImage(program, signer));
  const { sizeBytes } = await writeDiskImage(flags.out, {
    selector: sign(await buildSelector()),
    image: sign(await readRom(flags.image)),
    version: (await readIdentity(repositoryRoot)).version,
    stateBytes: flags.stateSize * 2 ** 20,
  });
  output.print(
    `${flags.out}: a disk of ${sizeBytes / 2 ** 20} MiB${signer === undefined ? "" : ", signed"}.\n`,
  );
}

/** Whole MiB that an ext4 file system fits in. */
function parseStateSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size >= STATE_BYTES_MIN / 2 ** 20 && size <= STATE_MIB_MAX) return size;
  throw new InvalidArgumentError(
    `It has to be a number of MiB from ${STATE_BYTES_MIN / 2 ** 20} to ${STATE_MIB_MAX}.`,
  );
}

/** Adds `image` to the command. */
export function imageCommand(parent: Command, output: Output): Command {
  const command = parent.createCommand("image").copyInheritedSettings(parent);
  command.description("look into ROMs, put the image into one, sign it, see what it is made of");
  command
    .command("inspect")
    .description("show what is in a ROM: volumes, files, free space, what could be given up")
    .argument("<rom>", "flash image")
    .option("--json", "as JSON")
    .option("--sections", "with every section of every file")
    .action((path: string, flags: InspectFlags) => inspect(path, flags, output));
  command
    .command("embed")
    .description("put the image into a UEFI ROM, in the place of its Shell")
    .requiredOption("--rom <file>", "the vendor's ROM; it is not changed")
    .requiredOption("--out <file>", "the new ROM")
    .option("--image <file>", "the image", join(repositoryRoot, "build/thimble.efi"))
    .option("--drop <names...>", "give up modules: groups (network, setup, drives), module names or GUIDs")
    .option("--place <name>", "take the place of this module instead of the Shell")
    .option("--volume <offset>", "only this volume of the ROM, by where it starts: 0x84000", parseOffset)
    .option("--keep-unreadable", "go on when parts of the ROM can't be read: they stay as they are")
    .option("--json", "say what was done as JSON")
    .action((flags: EmbedFlags) => embed(flags, output));
  command
    .command("sign")
    .description("sign the image for Secure Boot with a key of your own")
    .argument("[image]", "the image", join(repositoryRoot, "build/thimble.efi"))
    .requiredOption("--key <file>", "RSA private key, PEM")
    .requiredOption(
      "--cert <file>",
      "its certificate, PEM or DER; the firmware has it, or its issuer's, in db",
    )
    .requiredOption("--out <file>", "the signed image")
    .action((path: string, flags: SignFlags) => sign(path, flags, output));
  command
    .command("disk")
    .description("make a disk for a USB stick, SD card or drive: selector, two boot banks, state")
    .requiredOption("--out <file>", "the disk")
    .option("--image <file>", "the image, not signed", join(repositoryRoot, "build/thimble.efi"))
    .option("--state-size <MiB>", "of the partition for state", parseStateSize, STATE_MIB_DEFAULT)
    .option("--key <file>", "sign selector and image: RSA private key, PEM")
    .option("--cert <file>", "its certificate, PEM or DER")
    .action((flags: DiskFlags) => disk(flags, output));
  command
    .command("size")
    .description("build what is out of date and show what the image is made of")
    .action(async () => {
      await import("../image/size.ts"); // runs by being imported, as `npm run size` does
    });
  return command;
}
