/** Reads what a picture of a text screen says, with an OCR program of others (Debian's tesseract-ocr). */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ApiClient } from "../../src/rig/api-client.ts";
import { sleep } from "../../src/rig/time.ts";
import { type Picture, screenshot } from "./screenshot.ts";

/** Console fonts are 8 pixels wide, too few for a program that was taught with scanned books. */
const SCALE = 3;
const PAUSE_MS = 3000;

/** The text of a picture: lines as they are found, with the mistakes of OCR. */
export async function screenText(picture: Picture): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "thimble-ocr-"));
  try {
    const file = join(directory, "screen.pgm");
    writeFileSync(file, enlargedGrey(picture));
    const { stdout } = await promisify(execFile)("tesseract", [file, "stdout", "--psm", "6"], {
      env: { ...process.env, OMP_THREAD_LIMIT: "1" },
    });
    return stdout;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Looks at a VM's display until it shows the pattern; keeps the last picture as screens/NAME.png. Throws, with the text
 * seen last, when it does not within `timeoutMs`.
 */
export async function waitForScreen(
  api: ApiClient,
  id: string,
  pattern: RegExp,
  options: { readonly name: string; readonly timeoutMs: number },
): Promise<string> {
  const giveUpMs = Date.now() + options.timeoutMs;
  for (;;) {
    const text = await screenText(await screenshot(api, id, options.name));
    if (pattern.test(text)) return text;
    if (Date.now() > giveUpMs) {
      throw new Error(`The display does not show ${pattern} after ${options.timeoutMs} ms, but:\n${text}`);
    }
    await sleep(PAUSE_MS);
  }
}

/** The picture's negative as a PGM file (binary grey map): consoles write light on dark, books dark on light. */
function enlargedGrey({ width, height, bgrx }: Picture): Buffer {
  const header = Buffer.from(`P5 ${width * SCALE} ${height * SCALE} 255\n`);
  const body = Buffer.alloc(width * SCALE * height * SCALE);
  for (let y = 0; y < height; y++) {
    const row = body.subarray(y * SCALE * width * SCALE, (y * SCALE + 1) * width * SCALE);
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 4;
      // As bright as eyes find it: memtest86+ writes white on blue.
      const light = (bgrx[at] as number) + 5 * (bgrx[at + 1] as number) + 2 * (bgrx[at + 2] as number);
      row.fill(255 - (light >> 3), x * SCALE, (x + 1) * SCALE);
    }
    for (let copy = 1; copy < SCALE; copy++) row.copy(body, (y * SCALE + copy) * width * SCALE);
  }
  return Buffer.concat([header, body]);
}
