/** Screenshots of a VM's display, taken by VNC clients of other makers and kept as evidence. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { inflateSync } from "node:zlib";
import type { ApiClient } from "../../src/rig/api-client.ts";
import { artifactDirectory } from "./servers.ts";

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Four bytes a pixel: blue, green, red and zero, as a framebuffer has them. */
  readonly bgrx: Buffer;
}

/** VNC displays are numbered from this port on. */
const VNC_PORT = 5900;
const TIMEOUT_MS = 120_000;

/** Takes a screenshot with gvnccapture (gtk-vnc: ZRLE among others) and keeps it as screens/NAME.png. */
export async function screenshot(api: ApiClient, id: string, name: string): Promise<Picture> {
  const path = artifactPath(`${name}.png`);
  const display = await api.display(id);
  try {
    await promisify(execFile)("gvnccapture", ["-q", `127.0.0.1:${display.port - VNC_PORT}`, path], {
      timeout: TIMEOUT_MS,
    });
  } finally {
    display.close();
  }
  return decodePng(readFileSync(path));
}

/** The same with vncsnapshot, a client of 2001 that speaks version 3.3: its JPEG file. */
export async function oldClientScreenshot(api: ApiClient, id: string, name: string): Promise<Buffer> {
  const path = artifactPath(`${name}.jpg`);
  const display = await api.display(id);
  try {
    await promisify(execFile)(
      "vncsnapshot",
      ["-allowblank", "-nocursor", `127.0.0.1:${display.port - VNC_PORT}`, path],
      {
        timeout: TIMEOUT_MS,
      },
    );
  } finally {
    display.close();
  }
  return readFileSync(path);
}

function artifactPath(name: string): string {
  const directory = join(artifactDirectory, "screens");
  mkdirSync(directory, { recursive: true });
  const path = join(directory, name);
  rmSync(path, { force: true });
  return path;
}

/** A PNG file of 8 bits a colour, with or without alpha, not interlaced (PNG specification, 5 and 9). */
export function decodePng(file: Buffer): Picture {
  const parts: Buffer[] = [];
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    if (file.toString("latin1", at + 4, at + 8) === "IDAT")
      parts.push(file.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const [width, height] = [file.readUInt32BE(16), file.readUInt32BE(20)];
  const [depth, colour, , , interlace] = file.subarray(24);
  assert.ok(depth === 8 && (colour === 2 || colour === 6) && interlace === 0, "a kind of PNG not known here");
  const step = colour === 2 ? 3 : 4;
  const data = inflateSync(Buffer.concat(parts));
  const line = width * step;
  const bgrx = Buffer.alloc(width * height * 4);
  let above = Buffer.alloc(line);
  for (let y = 0; y < height; y++) {
    const filter = data[y * (line + 1)];
    const row = data.subarray(y * (line + 1) + 1, (y + 1) * (line + 1));
    for (let i = 0; i < line; i++) {
      const left = i < step ? 0 : (row[i - step] as number);
      const up = above[i] as number;
      const corner = i < step ? 0 : (above[i - step] as number);
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter as number] as number;
      row[i] = (row[i] as number) + guess;
    }
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) bgrx[(y * width + x) * 4 + 2 - c] = row[x * step + c] as number;
    }
    above = row;
  }
  return { width, height, bgrx };
}

function paeth(left: number, up: number, corner: number): number {
  const [a, b, c] = [up - corner, left - corner, left + up - 2 * corner].map(Math.abs) as [
    number,
    number,
    number,
  ];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}
