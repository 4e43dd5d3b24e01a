import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ThimbleError } from "../../../base/errors.ts";
import { ascii, bytes, packed, u8, u16, u32 } from "../../../base/layout.ts";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { debPackage } from "../../sources.ts";
import { peMachine } from "../executable.ts";
import { efiDecode } from "./efi-decode.ts";
import { efiEncode } from "./efi-encode.ts";
import { type EfiVariant, efiCompressedHeader } from "./efi-format.ts";
import { codeLengths } from "./huffman.ts";
import { lzmaDecode, lzmaEncode } from "./lzma.ts";
import { x86Decode, x86Encode } from "./x86-filter.ts";

const MEBIBYTE = 1024 * 1024;
const variants: readonly EfiVariant[] = ["efi", "tiano"];

/** Data between noise and text: bytes of a small alphabet, and repetitions of what was before. */
function someData(random: SeededRandom, length: number): Uint8Array {
  const data = new Uint8Array(length);
  const alphabet = 1 + random.below(256);
  for (let at = 0; at < length; ) {
    const run = 1 + random.below(random.pick([4, 40, 700]));
    const back = at === 0 ? 0 : 1 + random.below(random.pick([at, Math.min(at, 300)]));
    for (let i = 0; i < run && at < length; i++, at++) {
      data[at] = back > 0 && run > 3 ? (data[at - back] as number) : random.below(alphabet);
    }
  }
  return data;
}

/** Unpacks, or says that the data are bad. Whatever else happens fails the test. */
function unpackOrRefuse(decode: () => Uint8Array, why: string): Uint8Array | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof ThimbleError && error.code === "bad_compressed_data") return undefined;
    throw new Error(why, { cause: error });
  }
}

describe("UEFI compression", () => {
  test("data come back in both variants (generated)", () => {
    const random = new SeededRandom(testSeed());
    for (let round = 0; round < 300; round++) {
      const length = round < 20 ? round : random.below(random.pick([50, 3000, 60_000]));
      const data = someData(random, length);
      for (const variant of variants) {
        const packedData = efiEncode(data, variant);
        const why = `seed ${random.seed}, round ${round}, ${variant}`;
        assert.deepEqual(Buffer.from(efiDecode(packedData, variant, MEBIBYTE)), Buffer.from(data), why);
      }
    }
  });

  test("data of several blocks come back, and repetitions are found over the whole window", () => {
    const random = new SeededRandom(testSeed());
    const noise = random.fill(new Uint8Array(100_000));
    const data = new Uint8Array(300_000);
    for (const at of [0, 100_000, 200_000]) data.set(noise, at);
    const sizes = variants.map((variant) => {
      const packedData = efiEncode(data, variant);
      assert.deepEqual(Buffer.from(efiDecode(packedData, variant, MEBIBYTE)), Buffer.from(data), variant);
      return packedData.length;
    });
    // 100,000 bytes back is beyond the window of 8 KiB, and within that of 512 KiB.
    assert.ok((sizes[0] as number) > 300_000 && (sizes[1] as number) < 110_000, sizes.join(" "));
  });

  test("long zeros shrink to almost nothing", () => {
    for (const variant of variants) {
      const packedData = efiEncode(new Uint8Array(500_000), variant);
      assert.ok(packedData.length < 400, `${packedData.length}`);
      assert.ok(efiDecode(packedData, variant, MEBIBYTE).every((byte) => byte === 0));
    }
  });

  const optionRom = packed("PCI expansion ROM header, EFI", "UEFI 2.10, 14.4.2.1", {
    signature: u16,
    initializationSize: u16,
    efiSignature: u32,
    subsystem: u16,
    machine: u16,
    compression: u16,
    reserved: bytes(8),
    imageOffset: u16,
    pcirOffset: u16,
  });
  const pciData = packed("PCI data structure", "PCI firmware specification 3.0, 5.1.2", {
    signature: ascii(4),
    ids: bytes(12),
    imageBlocks: u16,
    revision: u16,
    codeType: u8,
    indicator: u8,
  });

  /** The compressed EFI programs in an option ROM. */
  function* compressedPrograms(rom: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; ; ) {
      const header = optionRom.decode(rom, at);
      const data = pciData.decode(rom, at + header.pcirOffset);
      assert.equal(data.signature, "PCIR");
      const end = at + data.imageBlocks * 512;
      if (data.codeType === 3 && header.compression === 1) yield rom.subarray(at + header.imageOffset, end);
      if ((data.indicator & 0x80) !== 0) return;
      at = end;
    }
  }

  test("programs that another packer packed unpack: the option ROMs of Debian's iPXE", async () => {
    const directory = join(await debPackage("ipxe-qemu", "trixie"), "usr/share/qemu");
    let programs = 0;
    for (const name of readdirSync(directory).filter((each) => /^efi-.*\.rom$/.test(each))) {
      for (const data of compressedPrograms(readFileSync(join(directory, name)))) {
        const program = efiDecode(data, "efi", 16 * MEBIBYTE);
        assert.equal(peMachine(program), 0x8664, name);
        // What iPXE's own packer made is about what ours makes.
        const theirs = efiCompressedHeader.decode(data).compressedBytes;
        const ours = efiEncode(program, "efi");
        assert.ok(ours.length < theirs * 1.02, `${name}: ${ours.length} against ${theirs}`);
        assert.deepEqual(Buffer.from(efiDecode(ours, "efi", MEBIBYTE)), Buffer.from(program));
        programs++;
      }
    }
    assert.ok(programs >= 8, `${programs} programs`);
  });

  test("damaged data are refused, or unpack to the size that they say (generated)", () => {
    const random = new SeededRandom(testSeed());
    let refused = 0;
    for (let round = 0; round < 5000; round++) {
      const variant = random.pick(variants);
      const good = efiEncode(someData(random, 1 + random.below(2000)), variant);
      const damaged = random.below(4) === 0 ? good.slice(0, random.below(good.length)) : good;
      for (let i = 1 + random.below(3); i > 0; i--) damaged[random.below(damaged.length)] = random.u32();
      const why = `seed ${random.seed}, round ${round}`;
      const out = unpackOrRefuse(() => efiDecode(damaged, variant, 64 * 1024), why);
      if (out === undefined) refused++;
      else assert.equal(out.length, efiCompressedHeader.decode(damaged).originalBytes, why);
    }
    assert.ok(refused > 2000, `${refused} refused, seed ${random.seed}`);
  });

  test("a claim over the limit is refused before any work", () => {
    const data = efiEncode(new Uint8Array(1000), "efi");
    assert.throws(() => efiDecode(data, "efi", 999), /claim to unpack to 1000 bytes, over 999/);
  });
});

test("Huffman codes keep to their longest length and stay complete", () => {
  const fibonacci = new Uint32Array(30);
  for (let i = 0; i < 30; i++)
    fibonacci[i] = i < 2 ? 1 : (fibonacci[i - 1] as number) + (fibonacci[i - 2] as number);
  const lengths = codeLengths(fibonacci, 16);
  assert.ok(Math.max(...lengths) <= 16);
  assert.equal(
    lengths.reduce((sum, length) => sum + 2 ** -length, 0),
    1,
  );
});

describe("LZMA", () => {
  test("data come back, with the size in the header", () => {
    const random = new SeededRandom(testSeed());
    for (const length of [0, 1, 100, 70_000]) {
      const data = random.fill(new Uint8Array(length));
      const packedData = lzmaEncode(data);
      assert.equal(Buffer.from(packedData).readUInt32LE(5), length);
      assert.deepEqual(Buffer.from(lzmaDecode(packedData, length)), Buffer.from(data), `seed ${random.seed}`);
    }
  });

  test("a dictionary of any size in the header is no obstacle: nothing reaches further than the data", () => {
    const packedData = lzmaEncode(new Uint8Array(5000).fill(7));
    Buffer.from(packedData.buffer).writeUInt32LE(0xffff_fff1, 1);
    assert.equal(lzmaDecode(packedData, 5000).length, 5000);
  });

  test("a claim over the limit is refused before any work", () => {
    assert.throws(() => lzmaDecode(lzmaEncode(new Uint8Array(1000)), 999), /claim to unpack to 1000 bytes/);
  });
});

describe("the x86 filter", () => {
  /** What xz's own filter makes of data: its output through LZMA2, of which only the LZMA2 is undone. */
  function xzFilter(data: Uint8Array): Buffer {
    const xz = (args: readonly string[], input: Uint8Array): Buffer => {
      const result = spawnSync("xz", ["--format=raw", "--stdout", ...args], { input, maxBuffer: MEBIBYTE });
      assert.equal(result.status, 0, result.stderr.toString());
      return result.stdout;
    };
    return xz(["--decompress", "--lzma2"], xz(["--compress", "--x86", "--lzma2"], data));
  }

  /** Bytes in which opcodes and sign bytes are frequent, in code and by chance. */
  function someCode(random: SeededRandom, length: number): Uint8Array {
    const data = new Uint8Array(length);
    for (let i = 0; i < length; i++) data[i] = random.pick([0xe8, 0xe9, 0, 0xff, 0x90, random.below(256)]);
    return data;
  }

  test("does what xz's does, and undoes it (generated)", () => {
    const random = new SeededRandom(testSeed());
    for (let round = 0; round < 60; round++) {
      const data = someCode(random, round < 12 ? round : random.below(5000));
      const filtered = x86Encode(data);
      const why = `seed ${random.seed}, round ${round}`;
      assert.deepEqual(Buffer.from(filtered), xzFilter(data), why);
      assert.deepEqual(Buffer.from(x86Decode(filtered)), Buffer.from(data), why);
    }
  });
});
