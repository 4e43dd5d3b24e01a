/**
 * What showing a picture of 1280 x 800 costs on the engine, by kind of picture: comparing it with what was there, and
 * encoding all of it.
 *
 *   node --import tsx src/image/runtime/main.ts --entry bench=bench/micro/display.ts --out DIR --optimize=-O2 && DIR/thimble
 */
import { monotonicMs } from "../../src/sys/clock.ts";
import { print } from "../../src/sys/native/harness.ts";
import { exit } from "../../src/sys/process.ts";
import type { Screen, ScreenMode } from "../../src/vmm/devices/display/screen.ts";
import { NATIVE_FORMAT, type PixelTables, pixelTables } from "../../src/vmm/vnc/pixel-format.ts";
import { encodeRaw } from "../../src/vmm/vnc/raw.ts";
import { Surface } from "../../src/vmm/vnc/surface.ts";
import { ZrleEncoder, zrleBytesMax } from "../../src/vmm/vnc/zrle.ts";

const width = 1280;
const height = 800;
const rectangle = { width: 1024, height: 64 };
const mode: ScreenMode = { width, height, offset: 0, stride: width, bigEndian: false };
const pixels = new Uint32Array(4 * 1024 * 1024);
const screen: Screen = { pixels, mode: () => mode, watch: () => {}, takeDirty: (pages) => pages.fill(0xff) };

let state = 1;
function random(): number {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return state >>> 8;
}

/** A console with letters of one shape each. */
function text(): void {
  const letters = Array.from({ length: 64 }, () =>
    Array.from({ length: 16 }, (_, y) => (y < 3 || y > 12 ? 0 : random() & 0x7e)),
  );
  for (let row = 0; row < 50; row++) {
    for (let column = random() % 160; column > 0; column--) {
      const letter = letters[random() % 64] as number[];
      for (let y = 0; y < 16; y++) {
        for (let x = 0; x < 8; x++) {
          if (((letter[y] as number) >> x) & 1) pixels[(row * 16 + y) * width + column * 8 + x] = 0xaaaaaa;
        }
      }
    }
  }
}

const pictures: Record<string, () => void> = {
  black: () => {},
  text,
  gradient: () => {
    for (let i = 0; i < width * height; i++) pixels[i] = ((i % width) >> 3) * 0x010101;
  },
  noise: () => {
    for (let i = 0; i < width * height; i++) pixels[i] = random() & 0xffffff;
  },
};

const tables = pixelTables(NATIVE_FORMAT) as PixelTables;
const zrle = new ZrleEncoder(rectangle.width * rectangle.height);
const out = new Uint8Array(zrleBytesMax(rectangle.width * rectangle.height));
const surface = new Surface(screen);

function timed(work: () => void): string {
  const start = monotonicMs();
  work();
  return `${(monotonicMs() - start).toFixed(1)} ms`;
}

function each(encode: (start: number, width: number, height: number) => void): void {
  for (let y = 0; y < height; y += rectangle.height) {
    for (let x = 0; x < width; x += rectangle.width) {
      encode(y * width + x, Math.min(rectangle.width, width - x), Math.min(rectangle.height, height - y));
    }
  }
}

for (const [name, draw] of Object.entries(pictures)) {
  pixels.fill(0);
  draw();
  surface.refresh();
  const changed = timed(() => surface.advance(Number.POSITIVE_INFINITY));
  surface.refresh();
  const same = timed(() => surface.advance(Number.POSITIVE_INFINITY));
  let bytes = 0;
  const encoded = timed(() =>
    each((start, w, h) => {
      bytes += zrle.encode(surface.pixels, start, width, w, h, tables, false, out, 0);
    }),
  );
  const raw = timed(() =>
    each((start, w, h) => {
      encodeRaw(surface.pixels, start, width, w, h, tables, out, 0);
    }),
  );
  print(
    `${name}: comparing ${changed} changed, ${same} unchanged; ZRLE ${encoded}, ${bytes} bytes; Raw ${raw}`,
  );
}
exit(0);
