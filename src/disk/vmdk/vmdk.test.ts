import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { deflateSync } from "node:zlib";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { RawImage } from "../raw.ts";
import { MemoryFile } from "../testing/memory-file.ts";
import { VmdkImage } from "./image.ts";
import { adler32, type VmdkKind, writeVmdk } from "./write.ts";

const KINDS: readonly VmdkKind[] = ["streamOptimized", "monolithicSparse"];
const KiB = 1024;

/** A disk with data, zeroes, and what compresses well and badly; its end is not that of a grain. */
function someDisk(random: SeededRandom, sizeBytes: number): Uint8Array {
  const disk = new Uint8Array(sizeBytes);
  for (let i = 0; i < 12; i++) {
    const at = random.below(sizeBytes);
    const piece = disk.subarray(at, Math.min(sizeBytes, at + random.below(100 * KiB)));
    if (random.below(2) === 0) random.fill(piece);
    else piece.fill(random.below(256));
  }
  disk[sizeBytes - 1] = 7;
  return disk;
}

function vmdkOf(disk: Uint8Array, kind: VmdkKind): Uint8Array {
  const file = new MemoryFile();
  writeVmdk(new RawImage(new MemoryFile(disk)), file, kind, 0x1234, () => {});
  const out = new Uint8Array(file.sizeBytes);
  file.readAt(0, out);
  return out;
}

function contentOf(vmdk: Uint8Array): Uint8Array {
  const image = new VmdkImage(new MemoryFile(vmdk));
  const out = new Uint8Array(image.sizeBytes);
  image.readAt(0, out);
  return out;
}

describe("VMDK", () => {
  test("Adler-32 is zlib's", () => {
    const data = new SeededRandom(1).fill(new Uint8Array(20_000));
    assert.equal(adler32(data), deflateSync(data).readUInt32BE(deflateSync(data).length - 4));
  });

  for (const kind of KINDS) {
    test(`${kind}: what was written is read, and qemu-img agrees`, () => {
      const seed = testSeed();
      const directory = mkdtempSync(join(tmpdir(), "thimble-vmdk-"));
      try {
        for (const sizeBytes of [512, 100 * KiB + 512, 1000 * KiB, 40 * 1024 * KiB]) {
          const disk = someDisk(new SeededRandom(seed + sizeBytes), sizeBytes);
          const vmdk = vmdkOf(disk, kind);
          assert.ok(Buffer.from(contentOf(vmdk)).equals(disk), `seed ${seed}, ${sizeBytes} bytes`);
          const paths = ["a.vmdk", "b.raw"].map((name) => join(directory, name)) as [string, string];
          writeFileSync(paths[0], vmdk);
          execFileSync("qemu-img", ["convert", "-f", "vmdk", "-O", "raw", ...paths]);
          assert.ok(
            readFileSync(paths[1]).equals(disk),
            `qemu-img reads something else (seed ${seed}, ${sizeBytes})`,
          );
          assert.match(execFileSync("qemu-img", ["info", paths[0]], { encoding: "utf8" }), new RegExp(kind));
        }
      } finally {
        rmSync(directory, { recursive: true });
      }
    });

    test(`${kind}: images of qemu-img are read`, () => {
      const seed = testSeed();
      const directory = mkdtempSync(join(tmpdir(), "thimble-vmdk-"));
      try {
        for (const sizeBytes of [64 * KiB, 5000 * KiB + 512]) {
          const disk = someDisk(new SeededRandom(seed + sizeBytes), sizeBytes);
          const paths = ["a.raw", "b.vmdk"].map((name) => join(directory, name)) as [string, string];
          writeFileSync(paths[0], disk);
          execFileSync("qemu-img", [
            "convert",
            "-f",
            "raw",
            "-O",
            "vmdk",
            "-o",
            `subformat=${kind}`,
            ...paths,
          ]);
          const content = contentOf(readFileSync(paths[1]));
          assert.ok(Buffer.from(content.subarray(0, sizeBytes)).equals(disk), `seed ${seed}`);
        }
      } finally {
        rmSync(directory, { recursive: true });
      }
    });

    test(`${kind}: damaged images give an error or wrong data, nothing else`, () => {
      const seed = testSeed();
      const random = new SeededRandom(seed);
      const whole = vmdkOf(someDisk(random, 300 * KiB), kind);
      for (let i = 0; i < 500; i++) {
        const damaged = whole.slice(0, random.below(4) === 0 ? random.below(whole.length) : whole.length);
        for (let changes = random.below(6); changes > 0; changes--) {
          const at = random.below(random.pick([512, 4096, damaged.length]) || 1);
          damaged[at] = random.below(256);
        }
        try {
          const image = new VmdkImage(new MemoryFile(damaged));
          const target = new Uint8Array(64 * KiB);
          for (let at = 0; at < Math.min(image.sizeBytes, 1024 * KiB); at += target.length)
            image.readAt(at, target);
        } catch (error) {
          const isOurs = error instanceof ThimbleError && ["bad_image", "bad_data"].includes(error.code);
          assert.ok(isOurs, `seed ${seed}, image ${i}: ${error}`);
        }
      }
    });
  }

  test("an image is not written to", () => {
    const image = new VmdkImage(new MemoryFile(vmdkOf(new Uint8Array(KiB).fill(1), "monolithicSparse")));
    assert.throws(() => image.writeAt(), { code: "read_only" });
  });
});
