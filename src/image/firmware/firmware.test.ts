import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { ovmfFirmware } from "../sources.ts";
import { assembleImage, freeBytes } from "./assemble.ts";
import { applicationFile, replaceFile, replaceWithPads } from "./edit.ts";
import {
  FILE_STATE_VALID,
  FILE_SYSTEM_FFS2,
  fileHeader,
  SECTION_TYPE_GUIDED,
  SECTION_TYPE_PE32,
  SECTION_TYPE_VOLUME,
  sum8,
  sum16,
  VOLUME_ERASE_POLARITY,
  VOLUME_SIGNATURE,
  volumeHeader,
} from "./format.ts";
import { guid } from "./guid.ts";
import { inspectImage } from "./inspect.ts";
import { lzmaDecode, lzmaEncode } from "./lzma.ts";
import { parseImage } from "./parse.ts";
import { type FirmwareFile, type FirmwareImage, moduleName, type Volume } from "./tree.ts";
import { findFiles } from "./walk.ts";

const SHELL = "7C04A583-9E3E-4F1C-AD65-E05268D0B4D1";
const NAME_A = "00112233-4455-6677-8899-AABBCCDDEEFF";
const NAME_B = "11112222-3333-4444-5555-666677778888";

function emptyVolume(sizeBytes: number, files: readonly FirmwareFile[]): Volume {
  const headerBytes = volumeHeader.size + 16; // block map: one entry and the end
  const prologue = new Uint8Array(headerBytes);
  volumeHeader.patch(prologue, 0, {
    fileSystemGuid: FILE_SYSTEM_FFS2,
    fvLength: sizeBytes,
    signature: VOLUME_SIGNATURE,
    attributes: VOLUME_ERASE_POLARITY,
    headerLength: headerBytes,
    revision: 2,
  });
  volumeHeader.patch(prologue, 0, { checksum: -sum16(prologue) & 0xffff });
  return { kind: "volume", prologue, sizeBytes, fileSystem: FILE_SYSTEM_FFS2, files };
}

/** A small image with what real ones have: pad, application, a volume in a volume. */
function smallImage(random: SeededRandom, compressed: boolean): FirmwareImage {
  const application = applicationFile(NAME_A, random.fill(new Uint8Array(301)));
  const inner = emptyVolume(2048, [application]);
  const volumeSection = {
    kind: "volume-section",
    type: SECTION_TYPE_VOLUME,
    longHeader: false,
    volume: inner,
  } as const;
  const section = compressed
    ? ({
        kind: "lzma",
        type: SECTION_TYPE_GUIDED,
        longHeader: false,
        attributes: 1,
        children: [volumeSection],
      } as const)
    : volumeSection;
  const holder: FirmwareFile = {
    name: NAME_B,
    type: 0x0b,
    attributes: 0,
    state: FILE_STATE_VALID,
    content: [section],
  };
  return { parts: [emptyVolume(4096, [holder])] };
}

test("a GUID is stored with its first three groups little-endian", () => {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  guid.write(view, 0, NAME_A);
  assert.equal(Buffer.from(bytes).toString("hex"), "3322110055447766" + "8899aabbccddeeff");
  assert.equal(guid.read(view, 0), NAME_A);
  assert.throws(() => guid.write(view, 0, "no GUID"), ThimbleError);
});

test("LZMA data come back, with the size in the header", () => {
  const random = new SeededRandom(testSeed());
  for (const length of [0, 1, 100, 70_000]) {
    const data = random.fill(new Uint8Array(length));
    const packed = lzmaEncode(data);
    assert.equal(Buffer.from(packed).readUInt32LE(5), length);
    assert.deepEqual(Buffer.from(lzmaDecode(packed)), Buffer.from(data), `seed ${random.seed}`);
  }
});

test("checksums of an assembled volume and file come out as the specification wants", () => {
  const image = assembleImage(smallImage(new SeededRandom(1), false));
  const header = volumeHeader.decode(image);
  assert.equal(sum16(image.subarray(0, header.headerLength)), 0);
  const file = image.slice(header.headerLength, header.headerLength + fileHeader.size);
  assert.equal(fileHeader.decode(file).state, 0xf8);
  fileHeader.patch(file, 0, { state: 0, fileChecksum: 0 });
  assert.equal(sum8(file), 0);
});

test("a made image reads back the same, packed or not", () => {
  for (const compressed of [false, true]) {
    const bytes = assembleImage(smallImage(new SeededRandom(2), compressed));
    const read = parseImage(bytes);
    assert.equal(findFiles(read, NAME_A).length, 1);
    assert.deepEqual(Buffer.from(assembleImage(read)), Buffer.from(bytes));
  }
});

test("files that do not fit are refused with the number of bytes", () => {
  const tooLarge = emptyVolume(1024, [applicationFile(NAME_A, new Uint8Array(1000))]);
  assert.throws(() => assembleImage({ parts: [tooLarge] }), /need 76 bytes more than its 1024/);
});

/** Everything a reader may do with a broken image: read it, or refuse it with a ThimbleError. */
function readOrRefuse(bytes: Uint8Array, why: () => string): boolean {
  try {
    const image = parseImage(bytes);
    // What is accepted must be understood: it comes out again byte for byte.
    assert.deepEqual(Buffer.from(assembleImage(image)), Buffer.from(bytes), why());
    inspectImage(image, true);
    return true;
  } catch (error) {
    if (error instanceof ThimbleError) return false;
    throw new Error(why(), { cause: error });
  }
}

test("damaged images are refused or understood, never worse (generated)", () => {
  const random = new SeededRandom(testSeed());
  const good = assembleImage(smallImage(random, false));
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = good.slice();
    const changes = 1 + random.below(4);
    // Mostly in headers, where a change means something.
    for (let i = 0; i < changes; i++)
      bytes[random.below(random.below(2) === 0 ? 256 : bytes.length)] = random.u32();
    if (!readOrRefuse(bytes, () => `seed ${random.seed}, round ${round}`)) refused++;
  }
  assert.ok(refused > 10_000, `only ${refused} of 20,000 refused, seed ${random.seed}`);
});

test("damaged headers with right checksums are refused or understood (generated)", () => {
  const random = new SeededRandom(testSeed());
  const good = assembleImage(smallImage(random, false));
  const { headerLength } = volumeHeader.decode(good);
  for (let round = 0; round < 20_000; round++) {
    const bytes = good.slice();
    const at = headerLength + (random.below(2) === 0 ? 0 : random.below(64));
    if (random.below(2) === 0) {
      bytes[random.below(headerLength)] = random.u32();
      volumeHeader.patch(bytes, 0, { checksum: 0 });
      volumeHeader.patch(bytes, 0, { checksum: -sum16(bytes.subarray(0, headerLength)) & 0xffff });
    } else {
      bytes[at + random.below(fileHeader.size)] = random.u32();
      const header = bytes.slice(headerLength, headerLength + fileHeader.size);
      fileHeader.patch(header, 0, { headerChecksum: 0, fileChecksum: 0, state: 0 });
      fileHeader.patch(bytes, headerLength, { headerChecksum: -sum8(header) & 0xff });
    }
    readOrRefuse(bytes, () => `seed ${random.seed}, round ${round}`);
  }
});

test("truncated images are refused or understood at every length", () => {
  const good = assembleImage(smallImage(new SeededRandom(3), false));
  for (let length = 0; length < good.length; length++) {
    readOrRefuse(good.subarray(0, length), () => `length ${length}`);
  }
});

test("damaged LZMA data are refused (generated)", () => {
  const random = new SeededRandom(testSeed());
  const good = assembleImage(smallImage(random, true));
  for (let round = 0; round < 100; round++) {
    const bytes = random.below(4) === 0 ? good.slice(0, random.below(good.length)) : good.slice();
    bytes[random.below(Math.min(700, bytes.length))] = random.u32();
    readOrRefuse(bytes, () => `seed ${random.seed}, round ${round}`);
  }
});

test("volumes nested without end are refused", () => {
  let sizeBytes = 4096;
  let volume = emptyVolume(sizeBytes, []);
  for (let depth = 0; depth < 12; depth++) {
    const section = { kind: "volume-section", type: SECTION_TYPE_VOLUME, longHeader: false, volume } as const;
    sizeBytes += 4096;
    volume = emptyVolume(sizeBytes, [
      { name: NAME_B, type: 0x0b, attributes: 0, state: FILE_STATE_VALID, content: [section] },
    ]);
  }
  assert.throws(() => parseImage(assembleImage({ parts: [volume] })), /nested more than/);
});

describe("stock OVMF", () => {
  const images: { name: string; bytes: Buffer }[] = [];
  before(async () => {
    for (const suite of ["bookworm", "trixie"] as const) {
      const { codePath, varsPath } = await ovmfFirmware(suite);
      for (const path of [codePath, varsPath]) images.push({ name: path, bytes: readFileSync(path) });
    }
  });

  test("comes out byte for byte as it went in", () => {
    for (const { name, bytes } of images) {
      assert.ok(Buffer.from(assembleImage(parseImage(bytes))).equals(bytes), name);
    }
  });

  test("has the Shell once, found by structure", () => {
    const code = parseImage((images[0] as { bytes: Buffer }).bytes);
    const found = findFiles(code, SHELL);
    assert.equal(found.length, 1);
    assert.equal(moduleName((found[0] as { file: FirmwareFile }).file), "Shell");
    assert.match(inspectImage(code), /7C04A583-9E3E-4F1C-AD65-E05268D0B4D1 application, \d+ bytes Shell/);
  });

  test("a replaced and padded image reads back with every other file where it was", () => {
    const stock = parseImage((images[0] as { bytes: Buffer }).bytes);
    const pe = new Uint8Array(100_000).fill(0x90);
    const padded = replaceWithPads(stock, (file) => moduleName(file) === "TlsDxe");
    const changed = replaceFile(padded, SHELL, applicationFile(SHELL, pe));
    const read = parseImage(assembleImage(changed));

    const [before] = findFiles(stock, SHELL);
    const [after] = findFiles(read, SHELL);
    assert.ok(before && after);
    assert.equal(after.volume.files.length, before.volume.files.length + 1);
    const expected = freeBytes(before.volume) - pe.length;
    assert.ok(Math.abs(freeBytes(after.volume) - expected) < 64);
    for (const [index, file] of before.volume.files.entries()) {
      const name = moduleName(file);
      if (name === "TlsDxe" || name === "Shell") continue;
      assert.deepEqual(after.volume.files[index], file, name);
    }
    const content = after.file.content;
    assert.ok(!(content instanceof Uint8Array) && content[0]?.kind === "leaf");
    assert.equal(content[0].type, SECTION_TYPE_PE32);
    assert.deepEqual(Buffer.from(content[0].data), Buffer.from(pe));
  });
});
