import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { BankHeader, IMAGE_OFFSET } from "../selector/bank.ts";
import { STATE_BYTES_MIN, writeDiskImage } from "./disk-image.ts";
import { fat32 } from "./fat32.ts";

const MiB = 2 ** 20;

describe("the image as a disk", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-disk-"));
  const at = (name: string) => join(directory, name);
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, MTOOLS_SKIP_CHECK: "1" };
  const tool = (program: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", env });
    assert.equal(status, 0, `${program} ${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  };
  const random = new SeededRandom(testSeed());
  const selector = random.fill(new Uint8Array(4096));
  const image = random.fill(new Uint8Array(2_600_001));
  const options = { selector, image, version: "1.2.3", stateBytes: STATE_BYTES_MIN };
  after(() => rmSync(directory, { recursive: true }));

  /** A partition as a file. */
  function partition(disk: string, startMiB: number, sizeMiB: number): string {
    writeFileSync(at("part"), readFileSync(disk).subarray(startMiB * MiB, (startMiB + sizeMiB) * MiB));
    return at("part");
  }

  test("sgdisk, fsck.vfat and fsck.ext4 find nothing wrong, and the files are there", async () => {
    const disk = at("disk.img");
    const { sizeBytes } = await writeDiskImage(disk, options);
    assert.equal(statSync(disk).size, sizeBytes);
    assert.equal(sizeBytes, (1 + 40 + 6 + 6 + 16 + 1) * MiB);
    assert.match(tool("sgdisk", "-v", disk), /No problems found/);
    const table = tool("sgdisk", "-p", disk);
    assert.match(table, /1 +2048 +83967 .* EF00 +EFI system/);
    assert.match(table, /3 +96256 +108543 .*Thimble bank B/);
    assert.match(table, /4 +108544 +141311 .* 8300 +Thimble state/);
    const system = partition(disk, 1, 40);
    assert.doesNotMatch(tool("fsck.vfat", "-n", "-v", system), /differ|wrong|bad|error/i);
    tool("mcopy", "-n", "-i", system, "::EFI/BOOT/BOOTX64.EFI", at("read.efi"));
    assert.deepEqual(new Uint8Array(readFileSync(at("read.efi"))), selector);
    const bank = readFileSync(partition(disk, 47, 6));
    assert.equal(BankHeader.decode(bank).imageVersion, "1.2.3");
    assert.deepEqual(new Uint8Array(bank.subarray(IMAGE_OFFSET, IMAGE_OFFSET + image.length)), image);
    tool("fsck.ext4", "-f", "-n", partition(disk, 53, 16));
  });

  test("the same options give the same bytes; another image gives other identifiers", async () => {
    await writeDiskImage(at("first.img"), options);
    await new Promise((resolve) => setTimeout(resolve, 1100)); // file systems know seconds
    await writeDiskImage(at("second.img"), options);
    execFileSync("cmp", [at("first.img"), at("second.img")]);
    await writeDiskImage(at("third.img"), { ...options, version: "1.2.4" });
    const guid = (disk: string) =>
      /Disk identifier \(GUID\): (\S+)/.exec(tool("sgdisk", "-p", at(disk)))?.[1];
    assert.equal(guid("first.img"), guid("second.img"));
    assert.notEqual(guid("first.img"), guid("third.img"));
  });

  test("what does not fit leaves nothing behind", async () => {
    const large = { ...options, image: new Uint8Array(6 * MiB) };
    await assert.rejects(
      writeDiskImage(at("large.img"), large),
      (error: unknown) => error instanceof ThimbleError && error.code === "image_does_not_fit",
    );
    await assert.rejects(writeDiskImage(at("absent/disk.img"), options));
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.startsWith("large") || name.includes("partial")),
      [],
    );
  });

  test("every tree of files in FAT32 comes back through mtools, and fsck.vfat agrees (generated)", () => {
    const seed = testSeed();
    const generated = new SeededRandom(seed);
    for (let round = 0; round < 4; round++) {
      const files: Record<string, Uint8Array> = {};
      const count = 1 + generated.below(60);
      for (let i = 0; i < count; i++) {
        const folders = Array.from(
          { length: generated.below(4) },
          (_, depth) => `D${depth}${generated.below(3)}`,
        );
        files[[...folders, `F${i}.BIN`].join("/")] = generated.fill(new Uint8Array(generated.below(5000)));
      }
      const volume = at("generated.fat");
      writeFileSync(
        volume,
        fat32((34 + generated.below(20)) * MiB, "GENERATED", generated.below(2 ** 32), files),
      );
      tool("fsck.vfat", "-n", volume);
      for (const [path, content] of Object.entries(files)) {
        rmSync(at("read.bin"), { force: true });
        tool("mcopy", "-n", "-i", volume, `::${path}`, at("read.bin"));
        assert.ok(readFileSync(at("read.bin")).equals(content), `seed ${seed}, round ${round}: ${path}`);
      }
    }
    const coded = (code: string) => (error: unknown) => error instanceof ThimbleError && error.code === code;
    assert.throws(() => fat32(20 * MiB, "SMALL", 1, {}), coded("file_system_full"));
    assert.throws(
      () => fat32(34 * MiB, "FULL", 1, { A: new Uint8Array(34 * MiB) }),
      coded("file_system_full"),
    );
    assert.throws(
      () => fat32(34 * MiB, "NAME", 1, { "too-long-a-name": new Uint8Array(1) }),
      coded("bad_name"),
    );
  });
});
