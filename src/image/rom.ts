/**
 * The flash ROM: a stock OVMF with the image in its DXE volume, in the place of the UEFI Shell. OVMF's boot manager
 * starts that file from the volume when no other boot option is there: no menu, no drive, no NVRAM setting.
 *
 * Room comes from modules that a diskless host's firmware does not need, given up level by level until the image
 * fits (docs/decisions/0007-image-in-the-dxe-volume.md has the numbers).
 */
import { ThimbleError } from "../base/errors.ts";
import { type Embedding, embedImage } from "./firmware/embed.ts";
import { optionalGroups } from "./firmware/optional.ts";
import { parseImage } from "./firmware/parse.ts";
import { VolumeFullError } from "./firmware/place.ts";

export interface GiveUpLevel {
  readonly name: string;
  /** For people: what the firmware can no longer do, beyond the levels before. */
  readonly loses: string;
  /** The groups of modules that are given up. */
  readonly drop: readonly string[];
}

/** In the order in which they are given up; each level includes those before it. */
export const giveUpLevels: readonly GiveUpLevel[] = [
  { name: "shell", loses: "the UEFI Shell, whose place the image takes", drop: [] },
  ...optionalGroups.map(({ name, loses }, index) => ({
    name,
    loses,
    drop: optionalGroups.slice(0, index + 1).map((group) => group.name),
  })),
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

function levelsToTry(name: string | undefined): readonly GiveUpLevel[] {
  if (name === undefined) return giveUpLevels;
  const level = giveUpLevels.find((each) => each.name === name);
  if (level === undefined) {
    const names = giveUpLevels.map((each) => each.name).join(", ");
    throw new ThimbleError("unknown_give_up_level", `"${name}" is no give-up level. Levels: ${names}.`);
  }
  return [level];
}

/**
 * Builds the flash ROM at the least give-up level that has room for the image.
 * Errors: `image_does_not_fit` with the bytes missing, `unknown_give_up_level`, and those of `embedImage`.
 */
export function buildRom(options: RomOptions): Rom {
  const { ovmfCode, ovmfVars, image } = options;
  const stock = parseImage(ovmfCode);
  const misses: string[] = [];
  for (const level of levelsToTry(options.level)) {
    let embedding: Embedding;
    try {
      embedding = embedImage(ovmfCode, stock, { image, drop: level.drop });
    } catch (error) {
      if (!(error instanceof VolumeFullError)) throw error;
      misses.push(`${error.missingBytes} bytes too large at level "${level.name}"`);
      continue;
    }
    return { code: embedding.rom, vars: ovmfVars, level, freeBytes: embedding.freeBytes };
  }
  throw new ThimbleError(
    "image_does_not_fit",
    `The image of ${image.length} bytes does not fit the ${ovmfCode.length} bytes of firmware: ` +
      `${misses.join(", ")}. Make the image smaller (npm run size).`,
  );
}
