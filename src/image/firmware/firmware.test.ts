import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliCompressSync } from "node:zlib";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import {
  codecChoices,
  encapsulation,
  fileOf,
  leaf,
  moduleFile,
  SHELL,
  smallFirmware,
  volumeOf,
  volumeSection,
} from "../testing/small-firmware.ts";
import { assembleImage, assembleSections, assembleVolume, fileLength, freeBytes } from "./assemble.ts";
import { brotliHeader } from "./compress/brotli.ts";
import { lzmaEncode } from "./compress/lzma.ts";
import { applicationFile, editImage } from "./edit.ts";
import {
  FILE_ATTRIBUTE_LARGE,
  FILE_SYSTEM_FFS3,
  fileHeader,
  GUIDED_PROCESSING_REQUIRED,
  guidedSection,
  SECTION_BROTLI,
  SECTION_LZMA_HP,
  SECTION_TYPE_GUIDED,
  SECTION_TYPE_PE32,
  sum8,
  sum16,
  volumeHeader,
} from "./format.ts";
import { growVolume } from "./grow.ts";
import { guid } from "./guid.ts";
import { inspectRom } from "./inspect.ts";
import { formatRomReport } from "./inspect-text.ts";
import { parseImage, parseWhole } from "./parse.ts";
import { changeFiles, fileStarts, padFile, VolumeFullError } from "./place.ts";
import type { FirmwareFile, FirmwareImage, Volume } from "./tree.ts";
import { findFiles } from "./walk.ts";

const NAME_A = "00112233-4455-6677-8899-AABBCCDDEEFF";
const NAME_B = "11112222-3333-4444-5555-666677778888";

const bytesOf = (parts: FirmwareImage["parts"]): Uint8Array => assembleImage({ parts });
const raw = (name: string, length: number, attributes = 0): FirmwareFile =>
  fileOf(name, 1, new Uint8Array(length).fill(0x5a), { attributes });

test("a GUID is stored with its first three groups little-endian", () => {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  guid.write(view, 0, NAME_A);
  assert.equal(Buffer.from(bytes).toString("hex"), "3322110055447766" + "8899aabbccddeeff");
  assert.equal(guid.read(view, 0), NAME_A);
  assert.throws(() => guid.write(view, 0, "no GUID"), ThimbleError);
});

test("checksums of an assembled volume and file come out as the specification wants", () => {
  const image = bytesOf([volumeOf(1024, [applicationFile(NAME_A, new Uint8Array(301).fill(3))])]);
  const header = volumeHeader.decode(image);
  assert.equal(sum16(image.subarray(0, header.headerLength)), 0);
  const file = image.slice(header.headerLength, header.headerLength + fileHeader.size);
  assert.equal(fileHeader.decode(file).state, 0xf8);
  fileHeader.patch(file, 0, { state: 0, fileChecksum: 0 });
  assert.equal(sum8(file), 0);
});

test("a made image reads back the same, however it is packed and whatever erased bytes are", () => {
  const random = new SeededRandom(2);
  for (const codec of codecChoices) {
    for (const eraseByte of [0xff, 0]) {
      const made = smallFirmware({ codec, eraseByte, fill: (target) => random.fill(target) });
      const bytes = assembleImage(made);
      const read = parseImage(bytes);
      const why = `${codec}, erased to ${eraseByte}`;
      assert.deepEqual(read.problems, [], why);
      assert.equal(findFiles(read, SHELL).length, 1, why);
      assert.deepEqual(Buffer.from(assembleImage(read)), Buffer.from(bytes), why);
    }
  }
});

test("edk2's compression under the number of the standard one is told by what comes out", () => {
  const random = new SeededRandom(9);
  const made = smallFirmware({ codec: "efi", fill: (target) => random.fill(target) });
  const volume = made.parts[0] as Volume;
  const [file] = volume.files as [FirmwareFile];
  const [section] = file.content as [ReturnType<typeof encapsulation>];
  const variant = { ...section, codec: "tiano" } as const;
  const bytes = bytesOf([{ ...volume, files: [{ ...file, content: [variant] }] }]);
  const read = parseWhole(bytes);
  assert.match(formatRomReport(inspectRom(bytes)), /section compression, .*, Tiano/);
  assert.deepEqual(Buffer.from(assembleImage(read)), Buffer.from(bytes));
});

/** A volume with one file that has one GUID-defined section. */
function guided(definition: string, data: Uint8Array): Volume {
  const attributes = GUIDED_PROCESSING_REQUIRED;
  const header = guidedSection.encode({ definition, attributes, dataOffset: 4 + guidedSection.size });
  const body = new Uint8Array([...header, ...data]);
  return volumeOf(4096, [fileOf(NAME_B, 2, [leaf(SECTION_TYPE_GUIDED, body)])]);
}

test("names from a ROM do nothing to a terminal", () => {
  const file = moduleFile(NAME_A, 7, `\u001b[2J\u202e\r\nEvil${"x".repeat(5000)}`, new Uint8Array(4));
  const text = formatRomReport(inspectRom(bytesOf([volumeOf(16 * 1024, [file])])), true);
  assert.match(text, /\?\[2J\?\?\?Evilx+/);
  assert.doesNotMatch(text, /[^\n\P{C}]/u);
  assert.ok(text.length < 2000, `${text.length}`);
});

test("sections packed by Brotli are read, and not changed", () => {
  const children = assembleSections([volumeSection(volumeOf(1024, [raw(NAME_A, 300)]))]);
  const header = brotliHeader.encode({ unpackedBytes: children.length, scratchBytes: 1 << 20 });
  const bytes = bytesOf([
    guided(SECTION_BROTLI, new Uint8Array([...header, ...brotliCompressSync(children)])),
  ]);
  const image = parseWhole(bytes);
  assert.deepEqual(Buffer.from(assembleImage(image)), Buffer.from(bytes));
  assert.match(formatRomReport(inspectRom(bytes)), /Brotli, unpacked 1,028 bytes/);
  const [found] = findFiles(image, NAME_A);
  assert.throws(() => editImage(image, { drops: (file) => file === found?.file }), /packed by Brotli/);

  const wrong = brotliHeader.encode({ unpackedBytes: children.length - 1 });
  const damaged = bytesOf([
    guided(SECTION_BROTLI, new Uint8Array([...wrong, ...brotliCompressSync(children)])),
  ]);
  assert.match(parseImage(damaged).problems[0] ?? "", /Brotli data can't be unpacked/);
  const noise = new Uint8Array([...header, ...new Uint8Array(50).fill(0xee)]);
  assert.match(parseImage(bytesOf([guided(SECTION_BROTLI, noise)])).problems[0] ?? "", /Brotli data/);
});

test("sections of a packer not known are kept closed, and said to be", () => {
  const bytes = bytesOf([guided(NAME_A, new Uint8Array(100).fill(7))]);
  assert.deepEqual(parseWhole(bytes).problems, []);
  assert.match(formatRomReport(inspectRom(bytes)), /GUID-defined, .*, 00112233-.*, which is kept closed/);
});

test("HP's LZMA sections are LZMA sections", () => {
  const inner = assembleSections([leaf(0x19, new Uint8Array(500).fill(1))]);
  const bytes = bytesOf([guided(SECTION_LZMA_HP, lzmaEncode(inner))]);
  assert.deepEqual(Buffer.from(assembleImage(parseWhole(bytes))), Buffer.from(bytes));
  assert.match(formatRomReport(inspectRom(bytes)), /LZMA, unpacked 504 bytes/);
});

test("a large file of FFS3 reads back the same, and is an error in FFS2", () => {
  const file = fileOf(NAME_A, 1, new Uint8Array(1000), { attributes: FILE_ATTRIBUTE_LARGE });
  const bytes = bytesOf([volumeOf(2048, [file], { fileSystem: FILE_SYSTEM_FFS3 })]);
  assert.deepEqual(Buffer.from(assembleImage(parseWhole(bytes))), Buffer.from(bytes));
  const wrong = bytesOf([volumeOf(2048, [file])]);
  assert.match(parseImage(wrong).problems[0] ?? "", /large file outside of FFS3/);
});

test("deleted files, and data after the last file or between files, are kept", () => {
  const deleted = { ...raw(NAME_B, 40), state: 0xff ^ 0x1f, storedChecksum: 0x77 };
  const odd = { ...raw(NAME_A, 13), gap: Uint8Array.of(1, 2, 3) };
  const tail = new Uint8Array(100).fill(0xff).fill(9, 50);
  const volume = volumeOf(1024, [deleted, odd]);
  const end = fileStarts({ ...volume, files: [...volume.files, raw(NAME_A, 0)] })[2] as number;
  const bytes = bytesOf([
    { ...volume, sizeBytes: 1024, tail: new Uint8Array([...tail]).slice(0, 1024 - end) },
  ]);
  const read = parseWhole(bytes);
  assert.deepEqual(Buffer.from(assembleImage(read)), Buffer.from(bytes));
  const [part] = read.parts;
  assert.ok(part?.kind === "volume" && part.tail !== undefined && part.files.length === 2);
  assert.equal(freeBytes(part), 0);
});

test("a damaged file leaves the rest of the image readable, and is named", () => {
  const first = volumeOf(1024, [raw(NAME_A, 100)]);
  const bytes = bytesOf([first, volumeOf(1024, [raw(NAME_B, 100)])]);
  bytes[volumeHeader.size + 16] = 0x11; // in the first file's name
  const read = parseImage(bytes);
  assert.equal(read.problems.length, 1);
  assert.match(read.problems[0] ?? "", /^The volume at 0x0: the file at 0x48 has a wrong header checksum/);
  assert.deepEqual(
    read.parts.map((part) => part.kind),
    ["opaque", "volume"],
  );
  assert.deepEqual(Buffer.from(assembleImage(read)), Buffer.from(bytes));
  assert.throws(() => parseWhole(bytes), /wrong header checksum/);
});

test("volumes nested without end are refused", () => {
  let sizeBytes = 4096;
  let volume = volumeOf(sizeBytes, []);
  for (let depth = 0; depth < 12; depth++) {
    sizeBytes += 4096;
    volume = volumeOf(sizeBytes, [fileOf(NAME_B, 0x0b, [volumeSection(volume)])]);
  }
  const read = parseImage(bytesOf([volume]));
  assert.match(read.problems[0] ?? "", /nested more than 8 deep/);
});

test("what an image unpacks to is bounded as a whole, and so are its files", () => {
  // Six sections of 60 MB of zeros each, a few KB packed: the fifth goes over the limit.
  const zeros = leaf(0x19, new Uint8Array(60_000_000));
  const sections = Array.from({ length: 6 }, () => encapsulation("efi", [zeros]));
  const packedOnce = bytesOf([volumeOf(1024 * 1024, [fileOf(NAME_B, 2, [sections[0] as never])])]);
  const one = parseImage(packedOnce).parts[0] as Volume;
  const [section] = (one.files[0] as FirmwareFile).content as [ReturnType<typeof encapsulation>];
  const bomb = bytesOf([
    volumeOf(1024 * 1024, [
      fileOf(
        NAME_B,
        2,
        Array.from({ length: 6 }, () => section),
      ),
    ]),
  ]);
  const { problems } = parseImage(bomb);
  assert.equal(problems.length, 2);
  assert.match(problems[0] ?? "", /claim to unpack to 6\d+ bytes; \d+ are left/);

  const many = Array.from({ length: 110_000 }, () => raw(NAME_A, 0));
  assert.throws(() => parseImage(bytesOf([volumeOf(3 * 1024 * 1024, many)])), /more than 100000 files/);
});

test("files that do not fit are refused with the number of bytes", () => {
  const tooLarge = volumeOf(1024, [applicationFile(NAME_A, new Uint8Array(1000))]);
  assert.throws(() => assembleVolume(tooLarge), /need 76 bytes more than its 1024/);
});

test("a changed file stays where it is, and so do the others", () => {
  const files = [raw(NAME_A, 100), padFile(200, 0xff), raw(NAME_B, 100)];
  const volume = volumeOf(2048, files);
  const starts = fileStarts(volume);
  const larger = changeFiles(volume, { replaced: new Map([[0, raw(NAME_A, 250)]]), added: [] });
  assert.equal(fileStarts(larger)[0], starts[0]);
  assert.equal(fileStarts(larger).at(-1), starts[2]);
  const smaller = changeFiles(volume, { replaced: new Map([[0, raw(NAME_A, 10)]]), added: [] });
  assert.equal(fileStarts(smaller).at(-1), starts[2]);
  assert.equal(
    fileLength(smaller.files[1] as FirmwareFile),
    fileLength(volume.files[1] as FirmwareFile) + 88,
  );
});

test("a changed file that no longer fits its place goes to the end, then over pads, then is refused", () => {
  const files = [raw(NAME_A, 100), raw(NAME_B, 100), padFile(600, 0xff), raw(NAME_B, 50)];
  const room = changeFiles(volumeOf(2048, files), { replaced: new Map([[0, raw(NAME_A, 300)]]), added: [] });
  assert.deepEqual(
    room.files.map(({ name }) => name.slice(0, 4)),
    ["FFFF", "1111", "FFFF", "1111", "0011"],
  );
  const tight = changeFiles(volumeOf(1024, files), { replaced: new Map([[0, raw(NAME_A, 300)]]), added: [] });
  assert.deepEqual(
    tight.files.map(({ name }) => name.slice(0, 4)),
    ["FFFF", "1111", "0011", "FFFF", "1111"],
  );
  const change = { replaced: new Map([[0, raw(NAME_A, 700)]]), added: [] };
  assert.throws(
    () => changeFiles(volumeOf(1024, files), change),
    (error) => error instanceof VolumeFullError && error.missingBytes === 700 + 24 - 600,
  );
});

test("files keep the alignment that they ask for (generated)", () => {
  const random = new SeededRandom(testSeed());
  for (let round = 0; round < 500; round++) {
    const attributes = random.below(5) << 3; // up to 1024 bytes
    const alignment = [1, 16, 128, 512, 1024][attributes >> 3] as number;
    const before = raw(NAME_B, random.below(300));
    const volume = volumeOf(4096, [before, padFile(1000 + 8 * random.below(100), 0xff), raw(NAME_B, 10)]);
    const file = raw(NAME_A, random.below(300), attributes);
    const changed = changeFiles(volume, { replaced: new Map(), added: [file] });
    const at = changed.files.indexOf(file);
    const start = fileStarts(changed)[at] as number;
    const why = `seed ${random.seed}, round ${round}`;
    assert.equal((start + fileHeader.size) % alignment, 0, why);
    const bytes = assembleVolume(changed);
    assert.deepEqual(Buffer.from(assembleImage(parseWhole(bytes))), Buffer.from(bytes), why);
  }
});

test("a volume grows by whole blocks, unless something is bound to its end", () => {
  const volume = volumeOf(1024, [raw(NAME_A, 100)]);
  const grown = growVolume(volume, 700);
  assert.equal(grown.sizeBytes, 2048);
  assert.deepEqual(parseImage(assembleVolume(grown)).problems, []);
  assert.throws(() => growVolume({ ...volume, tail: new Uint8Array(8) }, 1), /data after its last file/);
  const top = fileOf("1BA0062E-C779-4582-8566-336AE8F78F09", 1, new Uint8Array(8));
  assert.throws(() => growVolume(volumeOf(1024, [top]), 1), /has to be at its end/);
});

/** Everything a reader may do with a broken image: read it, or name what is wrong. Returns whether all was right. */
function readOrName(bytes: Uint8Array, why: () => string): boolean {
  try {
    const image = parseImage(bytes);
    // Nothing is lost, and what is accepted is understood: it comes out again byte for byte.
    assert.ok(Buffer.from(assembleImage(image)).equals(bytes), why());
    formatRomReport(inspectRom(bytes), true);
    return image.problems.length === 0;
  } catch (error) {
    if (error instanceof ThimbleError) return false;
    throw new Error(why(), { cause: error });
  }
}

test("damaged images are understood or named, never worse (generated)", () => {
  const random = new SeededRandom(testSeed());
  for (const codec of [undefined, "plain", "tiano", "efi"] as const) {
    const good = assembleImage(smallFirmware({ codec, fill: (target) => random.fill(target) }));
    let wrong = 0;
    for (let round = 0; round < 1500; round++) {
      const bytes = good.slice();
      // Mostly in headers, where a change means something.
      for (let i = random.below(4); i >= 0; i--) {
        bytes[random.below(random.below(2) === 0 ? 256 : bytes.length)] = random.u32();
      }
      if (!readOrName(bytes, () => `${codec}, seed ${random.seed}, round ${round}`)) wrong++;
    }
    assert.ok(wrong > 500, `only ${wrong} of 1500 found wrong, ${codec}, seed ${random.seed}`);
  }
});

test("damaged headers with right checksums are understood or named (generated)", () => {
  const random = new SeededRandom(testSeed());
  const good = assembleImage(smallFirmware({ fill: (target) => random.fill(target) }));
  const { headerLength } = volumeHeader.decode(good);
  for (let round = 0; round < 4000; round++) {
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
    readOrName(bytes, () => `seed ${random.seed}, round ${round}`);
  }
});

test("a volume that says it is shorter than its header is named, and the rest is read", () => {
  const good = bytesOf([volumeOf(1024, [raw(NAME_A, 50)])]);
  const { headerLength } = volumeHeader.decode(good);
  for (const fvLength of [0, 1, headerLength - 1]) {
    const bytes = good.slice();
    volumeHeader.patch(bytes, 0, { fvLength, checksum: 0 });
    volumeHeader.patch(bytes, 0, { checksum: -sum16(bytes.subarray(0, headerLength)) & 0xffff });
    const image = parseImage(Buffer.concat([bytes, good]));
    assert.match(image.problems.join(), /it says it is \d+ bytes long/);
    assert.equal(findFiles(image, NAME_A).length, 1);
  }
});

test("truncated images are understood or named at every length", () => {
  const random = new SeededRandom(3);
  const volume = volumeOf(2048, [
    fileOf(NAME_A, 9, [leaf(SECTION_TYPE_PE32, random.fill(new Uint8Array(700)))]),
  ]);
  const good = bytesOf([volume]);
  for (let length = 0; length < good.length; length++) {
    assert.equal(
      readOrName(good.subarray(0, length), () => `length ${length}`),
      length < volumeHeader.size,
    );
  }
});

test("damaged LZMA data are named (generated)", () => {
  const random = new SeededRandom(testSeed());
  const good = assembleImage(smallFirmware({ codec: "lzma", fill: (target) => random.fill(target) }));
  for (let round = 0; round < 60; round++) {
    const bytes = random.below(4) === 0 ? good.slice(0, random.below(good.length)) : good.slice();
    bytes[random.below(Math.min(700, bytes.length))] = random.u32();
    readOrName(bytes, () => `seed ${random.seed}, round ${round}`);
  }
});
