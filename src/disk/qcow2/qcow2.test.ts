import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import type { DiskImage } from "../image-file.ts";
import { RawImage } from "../raw.ts";
import { MemoryFile } from "../testing/memory-file.ts";
import { createQcow2 } from "./create.ts";
import { Qcow2Image } from "./image.ts";

const KiB = 1024;

function made(sizeBytes: number, clusterBits: number): MemoryFile {
  const file = new MemoryFile();
  createQcow2(file, { sizeBytes, clusterBits });
  return file;
}

function content(image: DiskImage): Uint8Array {
  const out = new Uint8Array(image.sizeBytes);
  image.readAt(0, out);
  return out;
}

/** One change of a disk, and of a flat array that says what it should hold. */
function change(random: SeededRandom, image: DiskImage, flat: Uint8Array): void {
  const offset = random.below(flat.length);
  const length = Math.min(1 + random.below(random.pick([100, 5000, 40_000])), flat.length - offset);
  switch (random.below(8)) {
    case 0:
      image.writeZeroes(offset, length);
      flat.fill(0, offset, offset + length);
      break;
    case 1: {
      image.discard(offset, length);
      // What a discard leaves is the image's affair.
      const now = new Uint8Array(length);
      image.readAt(offset, now);
      flat.set(now, offset);
      break;
    }
    default: {
      const data = random.fill(new Uint8Array(length));
      image.writeAt(offset, data);
      flat.set(data, offset);
    }
  }
}

describe("qcow2", () => {
  test("an image holds what a flat disk holds, over any changes, flushes and reopenings", () => {
    const seed = testSeed();
    for (const clusterBits of [9, 12, 16]) {
      const random = new SeededRandom(seed + clusterBits);
      const backingData = random.fill(new Uint8Array(100 * KiB));
      for (const withBacking of [false, true]) {
        const sizeBytes = 256 * KiB;
        const flat = new Uint8Array(sizeBytes);
        const file = new MemoryFile();
        createQcow2(file, {
          sizeBytes,
          clusterBits,
          ...(withBacking ? { backing: { name: "base", format: "raw" } } : {}),
        });
        const open = () =>
          new Qcow2Image(file, {
            backing: withBacking ? new RawImage(new MemoryFile(backingData), { readOnly: true }) : null,
          });
        if (withBacking) flat.set(backingData);
        let image = open();
        for (let i = 0; i < 150; i++) {
          change(random, image, flat);
          if (random.below(10) === 0) image.flush();
          if (random.below(40) === 0) {
            image.close();
            image = open();
          }
          if (random.below(15) === 0) {
            assert.deepEqual(content(image), flat, `seed ${seed}, ${clusterBits} bits, step ${i}`);
          }
        }
        image.close();
        const again = new Qcow2Image(file, {
          readOnly: true,
          backing: withBacking ? new RawImage(new MemoryFile(backingData)) : null,
        });
        assert.deepEqual(content(again), flat, `seed ${seed}`);
        assert.deepEqual(again.check(), { leaks: 0, errors: 0 }, `seed ${seed}`);
      }
    }
  });

  test("a power cut at any moment loses nothing that was flushed, and leaves a clean image", () => {
    const seed = testSeed();
    for (let round = 0; round < 40; round++) {
      const random = new SeededRandom(seed + round);
      const file = made(128 * KiB, random.pick([9, 12]));
      const image = new Qcow2Image(file);
      const flat = new Uint8Array(image.sizeBytes);
      /** What each byte was at the last flush, and whether it was written since. */
      let stable = flat.slice();
      const changed = new Uint8Array(flat.length);
      for (let i = random.below(60); i >= 0; i--) {
        const before = flat.slice();
        change(random, image, flat);
        for (let at = 0; at < flat.length; at++) if (flat[at] !== before[at]) changed[at] = 1;
        if (random.below(6) === 0) {
          image.flush();
          stable = flat.slice();
          changed.fill(0);
        }
      }
      const after = new Qcow2Image(new MemoryFile(file.afterPowerCut(random)));
      const found = content(after);
      for (let at = 0; at < found.length; at++) {
        if (changed[at] === 0) assert.equal(found[at], stable[at], `seed ${seed + round}, byte ${at}`);
      }
      assert.deepEqual(after.check(), { leaks: 0, errors: 0 }, `seed ${seed + round}`);
    }
  });

  test("damaged images are refused, or read, and never more than that", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const file = made(256 * KiB, 12);
    const image = new Qcow2Image(file);
    for (let i = 0; i < 30; i++) change(random, image, new Uint8Array(image.sizeBytes));
    image.close();
    const good = file.bytes();
    for (let i = 0; i < 1500; i++) {
      const bad = random.below(20) === 0 ? good.slice(0, random.below(good.length)) : good.slice();
      for (let k = random.below(4); k >= 0 && bad.length > 0; k--) {
        const at = random.below(3) === 0 ? random.below(Math.min(112, bad.length)) : random.below(bad.length);
        bad[at] = random.pick([0, 1, 0x80, 0xff, random.below(256)]);
      }
      const damaged = new MemoryFile(bad);
      try {
        const opened = new Qcow2Image(damaged);
        const size = Math.min(opened.sizeBytes, 300 * KiB);
        opened.readAt(0, new Uint8Array(size));
        opened.writeAt(random.below(Math.max(1, size - 600)), new Uint8Array(Math.min(600, size)).fill(1));
        opened.discard(0, size);
        opened.check();
        opened.close();
      } catch (error) {
        assert.ok(error instanceof ThimbleError, `seed ${seed}, image ${i}: ${(error as Error).stack}`);
      }
      assert.ok(
        damaged.sizeBytes < good.length + 4 * 1024 * KiB,
        `seed ${seed}: grew to ${damaged.sizeBytes}`,
      );
    }
  });

  test("qemu-img takes our images as clean and reads the same, and we read its", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const directory = mkdtempSync(join(tmpdir(), "thimble-qcow2-"));
    const at = (name: string) => join(directory, name);
    const qemuImg = (...args: string[]) =>
      execFileSync("qemu-img", args, { encoding: "utf8", stdio: "pipe" });
    try {
      for (const clusterBits of [9, 16, 21]) {
        const file = made(3 * 1024 * KiB, clusterBits);
        const image = new Qcow2Image(file);
        const flat = new Uint8Array(image.sizeBytes);
        for (let i = 0; i < 60; i++) change(random, image, flat);
        image.close();
        writeFileSync(at("ours.qcow2"), file.bytes());
        writeFileSync(at("flat.raw"), flat);
        qemuImg("check", "-f", "qcow2", at("ours.qcow2"));
        qemuImg("compare", "-f", "qcow2", "-F", "raw", at("ours.qcow2"), at("flat.raw"));
      }
      const flat = random.fill(new Uint8Array(1024 * KiB));
      flat.fill(0, 300 * KiB, 700 * KiB);
      flat.fill(7, 100 * KiB, 200 * KiB);
      writeFileSync(at("flat.raw"), flat);
      for (const options of [
        ["-o", "compat=1.1"],
        ["-o", "compat=0.10,cluster_size=4096"],
        ["-c"],
        ["-c", "-o", "cluster_size=512"],
        ["-o", "refcount_bits=1,cluster_size=512"],
        ["-o", "refcount_bits=64"],
        ["-o", "lazy_refcounts=on"],
        ["-o", "preallocation=metadata,cluster_size=2M"],
      ]) {
        qemuImg("convert", "-f", "raw", "-O", "qcow2", ...options, at("flat.raw"), at("theirs.qcow2"));
        const file = new MemoryFile(readFileSync(at("theirs.qcow2")));
        const theirs = new Qcow2Image(file);
        const now = flat.slice();
        assert.deepEqual(content(theirs), now, options.join(" "));
        for (let i = 0; i < 30; i++) change(random, theirs, now);
        theirs.close();
        writeFileSync(at("changed.qcow2"), file.bytes());
        writeFileSync(at("changed.raw"), now);
        qemuImg("check", "-f", "qcow2", at("changed.qcow2"));
        qemuImg("compare", "-f", "qcow2", "-F", "raw", at("changed.qcow2"), at("changed.raw"));
      }
      // With a snapshot: what it holds stays.
      qemuImg("convert", "-f", "raw", "-O", "qcow2", at("flat.raw"), at("theirs.qcow2"));
      qemuImg("snapshot", "-c", "before", at("theirs.qcow2"));
      const file = new MemoryFile(readFileSync(at("theirs.qcow2")));
      const theirs = new Qcow2Image(file);
      const now = flat.slice();
      for (let i = 0; i < 30; i++) change(random, theirs, now);
      theirs.close();
      writeFileSync(at("changed.qcow2"), file.bytes());
      qemuImg("check", "-f", "qcow2", at("changed.qcow2"));
      qemuImg("snapshot", "-a", "before", at("changed.qcow2"));
      qemuImg("compare", "-f", "qcow2", "-F", "raw", at("changed.qcow2"), at("flat.raw"));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
