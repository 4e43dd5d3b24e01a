import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import {
  codecChoices,
  moduleFile,
  NETWORK_MODULE,
  program,
  SHELL,
  type SmallFirmware,
  smallFirmware,
  volumeOf,
  X64,
} from "../testing/small-firmware.ts";
import { assembleImage } from "./assemble.ts";
import { type EmbedOptions, embedImage } from "./embed.ts";
import { hasBootGuard } from "./fit.ts";
import { SECTION_TYPE_PE32, VOLUME_SIGNATURE } from "./format.ts";
import { parseImage, parseWhole } from "./parse.ts";
import { VolumeFullError } from "./place.ts";
import { capsuleName, flashRegions } from "./regions.ts";
import { moduleName } from "./tree.ts";
import { verifyChange } from "./verify.ts";
import { findFiles, visitImage } from "./walk.ts";

const NAME = "00112233-4455-6677-8899-AABBCCDDEEFF";
const AARCH64 = 0xaa64;
const random = new SeededRandom(testSeed());
const noise = (length: number): Uint8Array => random.fill(new Uint8Array(length));
const image = (length: number): Uint8Array => program(X64, noise(length));

const embed = (rom: Uint8Array, options: EmbedOptions) => embedImage(rom, parseImage(rom), options);
const small = (options: Omit<SmallFirmware, "fill"> = {}): Uint8Array =>
  assembleImage(smallFirmware({ ...options, fill: (target) => random.fill(target) }));

function refused(code: string, pattern: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof ThimbleError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, pattern);
    return true;
  };
}

/** The program in the file of that name. */
function programIn(rom: Uint8Array, name: string): Uint8Array {
  const found = findFiles(parseWhole(rom), name);
  assert.equal(found.length, 1);
  const content = found[0]?.file.content;
  assert.ok(content !== undefined && !(content instanceof Uint8Array));
  const section = content.find((each) => each.type === SECTION_TYPE_PE32);
  assert.ok(section?.kind === "leaf");
  return section.data;
}

function modulesOf(rom: Uint8Array): string[] {
  const names: string[] = [];
  visitImage(parseWhole(rom), { file: (file) => names.push(moduleName(file) ?? "") });
  return names.filter((name) => name !== "");
}

describe("embedding the image", () => {
  test("it takes the Shell's place, however the DXE volume is stored", () => {
    for (const codec of codecChoices) {
      for (const eraseByte of [0xff, 0]) {
        const rom = small({ codec, eraseByte });
        const pe = image(700);
        const why = `${codec}, erased to ${eraseByte}`;
        const made = embed(rom, { image: pe });
        assert.equal(made.rom.length, rom.length, why);
        assert.equal(made.replaced, "Shell", why);
        assert.deepEqual(Buffer.from(programIn(made.rom, SHELL)), Buffer.from(pe), why);
        assert.deepEqual(modulesOf(made.rom), ["DxeCore", NETWORK_MODULE], why);
        // The boot volume behind is as it was.
        assert.ok(Buffer.from(made.rom.subarray(-2048)).equals(rom.subarray(-2048)), why);
      }
    }
  });

  test("a volume in a compressed section grows for it; one that is a piece of flash does not", () => {
    const pe = image(3000);
    for (const codec of ["lzma", "tiano"] as const) {
      const made = embed(small({ codec, innerRoomBytes: 0, roomBytes: 8192 }), { image: pe });
      assert.deepEqual(Buffer.from(programIn(made.rom, SHELL)), Buffer.from(pe));
    }
    const error = refused("volume_full", /^A file of \d+ bytes .* with room for \d+: \d+ bytes are missing/);
    assert.throws(() => embed(small({ codec: "crc32", innerRoomBytes: 0 }), { image: pe }), error);
    assert.throws(() => embed(small({ roomBytes: 500 }), { image: pe }), error);
  });

  test("giving up modules makes the room that is missing", () => {
    const rom = small({ codec: "lzma", roomBytes: 1024 });
    const pe = image(3300);
    let missing = 0;
    assert.throws(
      () => embed(rom, { image: pe }),
      (error) => {
        assert.ok(error instanceof VolumeFullError);
        missing = error.missingBytes;
        return true;
      },
    );
    assert.ok(missing > 0 && missing < 1500, `${missing}`);
    for (const name of ["network", "tcpdxe", "1a7e4468-2f55-4a56-903c-01265eb7622b"]) {
      const made = embed(rom, { image: pe, drop: [name] });
      assert.deepEqual(made.dropped, [NETWORK_MODULE]);
      assert.deepEqual(modulesOf(made.rom), ["DxeCore"]);
      assert.ok(made.freeBytes >= 0);
    }
    assert.throws(
      () => embed(rom, { image: pe, drop: ["Nothing"] }),
      refused("module_not_found", /"nothing"/),
    );
  });

  test("it takes the place of another file when told so, and comes under the Shell's name where there is no Shell", () => {
    const rom = small();
    const placed = embed(rom, { image: image(100), place: NETWORK_MODULE });
    assert.equal(placed.replaced, NETWORK_MODULE);
    assert.deepEqual(modulesOf(placed.rom), ["DxeCore", "Shell"]);
    const bare = embed(rom, { image: image(100), drop: ["Shell"] }).rom;
    const again = embed(embed(bare, { image: image(100), place: SHELL }).rom, { image: image(200) });
    assert.equal(again.fileName, SHELL);
    const core = moduleFile(NAME, 5, "DxeCore", image(100));
    const none = assembleImage({
      parts: [volumeOf(4096, [core]), { kind: "opaque", data: new Uint8Array(4096).fill(1) }],
    });
    const made = embed(none, { image: image(300) });
    assert.equal(made.replaced, undefined);
    assert.equal(programIn(made.rom, SHELL).length, 300 + 0x80);
  });

  test("what cannot work is refused with a sentence", () => {
    const pe = image(100);
    const rom = small();
    const bios = noise(64 * 1024);
    assert.throws(() => embed(bios, { image: pe }), refused("not_uefi_firmware", /no firmware volumes/));
    const other = program(AARCH64, noise(100));
    assert.throws(
      () => embed(rom, { image: other }),
      refused("wrong_machine", /runs X64 programs, the image is one for AArch64/),
    );
    assert.throws(() => embed(rom, { image: noise(100) }), refused("not_an_efi_program", /no PE header/));
    const variables = assembleImage({ parts: [volumeOf(4096, [])] });
    assert.throws(() => embed(variables, { image: pe }), refused("no_dxe_volume", /no DXE core/));
    const twice = Buffer.concat([rom, rom]);
    assert.throws(
      () => embed(twice, { image: pe }),
      refused("ambiguous_firmware", /2 files that are a UEFI Shell/),
    );
    const cut = rom.slice();
    cut.fill(0xff, -1024);
    assert.throws(() => embed(cut, { image: pe }), refused("rom_truncated", /its end is missing/));
  });

  test("of two firmwares in one chip, the one takes it that is named", () => {
    const rom = small({ codec: "tiano" });
    const chip = Buffer.concat([rom, rom]);
    const made = embed(chip, { image: image(300), volumeAt: rom.length, drop: ["network"] });
    assert.ok(Buffer.from(made.rom.subarray(0, rom.length)).equals(rom));
    assert.deepEqual(modulesOf(made.rom), ["DxeCore", "Shell", NETWORK_MODULE, "DxeCore"]);
  });

  test("a part that cannot be read is an error, or is kept as it is when that is asked for", () => {
    const pe = image(100);
    const rom = small();
    const bootVolume = rom.length - 2048;
    rom[bootVolume + 100] = (rom[bootVolume + 100] as number) ^ 1; // a header in the boot volume
    rom[bootVolume + 80] = (rom[bootVolume + 80] as number) ^ 1;
    assert.throws(() => embed(rom, { image: pe }), refused("rom_damaged", /wrong/));
    const made = embed(rom, { image: pe, keepUnreadable: true });
    assert.ok(Buffer.from(made.rom.subarray(bootVolume)).equals(rom.subarray(bootVolume)));
    const home = small();
    home[75] = (home[75] as number) ^ 1;
    assert.throws(
      () => embed(home, { image: pe, keepUnreadable: true }),
      refused("no_dxe_volume", /no DXE core/),
    );
  });
});

describe("the check of what was made", () => {
  const rom = small({ codec: "tiano" });
  const before = parseImage(rom);
  const [shell] = findFiles(before, SHELL);
  const none = { gone: new Set<never>(), added: new Set<never>() };

  test("finds bytes that do not read as the tree", () => {
    const wrong = rom.slice();
    wrong[wrong.length - 1] = 0x12;
    assert.throws(
      () => verifyChange(before, before, wrong, none),
      refused("rom_not_verified", /it reads as/),
    );
  });

  test("finds more and less changed than was asked for", () => {
    const changed = embed(rom, { image: image(50) });
    const after = parseImage(changed.rom);
    assert.throws(
      () => verifyChange(before, after, changed.rom, none),
      refused("rom_not_verified", /more would change than was asked for/),
    );
    assert.ok(shell !== undefined);
    const gone = { gone: new Set([shell.file]), added: new Set<never>() };
    assert.throws(
      () => verifyChange(before, before, rom, gone),
      refused("rom_not_verified", /less would change/),
    );
  });
});

describe("what surrounds volumes", () => {
  /** A flash chip with the descriptor of an Intel chipset: descriptor, ME, BIOS. */
  function chip(bios: Uint8Array): Buffer {
    const descriptor = Buffer.alloc(4096, 0xff);
    descriptor.writeUInt32LE(0x0ff0_a55a, 16);
    descriptor.writeUInt32LE(0x0004_0003, 20); // regions at 0x40
    const region = (index: number, base: number, limit: number): void => {
      descriptor.writeUInt32LE((limit << 16) | base, 0x40 + 4 * index);
    };
    for (let index = 0; index < 16; index++) region(index, 0x7fff, 0);
    region(0, 0, 0);
    region(2, 1, 1);
    region(1, 2, 1 + Math.ceil(bios.length / 4096));
    return Buffer.concat([descriptor, Buffer.alloc(4096, 0x22), bios]);
  }
  let rom: Buffer;
  before(() => {
    const bios = Buffer.alloc(16 * 1024, 0xff);
    const firmware = small({ codec: "lzma" });
    bios.set(firmware, bios.length - firmware.length);
    rom = chip(bios);
  });

  test("regions of a flash descriptor are named, and firmware among them takes the image", () => {
    assert.deepEqual(flashRegions(rom), [
      { name: "descriptor", offset: 0, sizeBytes: 4096 },
      { name: "BIOS", offset: 8192, sizeBytes: 16 * 1024 },
      { name: "ME", offset: 4096, sizeBytes: 4096 },
    ]);
    const made = embed(rom, { image: image(500) });
    assert.ok(Buffer.from(made.rom.subarray(0, 8192)).equals(rom.subarray(0, 8192)));
  });

  test("a chip's image that ends before its regions do is refused", () => {
    assert.throws(
      () => embed(rom.subarray(0, rom.length - 4096), { image: image(500) }),
      refused("rom_truncated", /the BIOS region ends at 24576, but the ROM has 20480 bytes/),
    );
  });

  test("Boot Guard's manifests are found by the table that the processor uses", () => {
    assert.equal(hasBootGuard(rom), false);
    const guarded = Buffer.from(rom);
    const table = 4096; // in the ME region, which nothing here reads
    const entry = (index: number, type: number): void => {
      guarded.fill(0, table + 16 * index, table + 16 * (index + 1));
      guarded[table + 16 * index + 14] = type;
    };
    for (const [index, type] of [0, 1, 7, 0x8c].entries()) entry(index, type);
    guarded.write("_FIT_   ", table);
    guarded.writeUInt32LE(4, table + 8);
    guarded.writeUInt32LE(0x1_0000_0000 - guarded.length + table, guarded.length - 0x40);
    guarded.writeUInt32LE(0, guarded.length - 0x3c);
    assert.equal(hasBootGuard(guarded), true);
    assert.equal(embed(guarded, { image: image(100) }).bootGuard, true);
    guarded.writeUInt32LE(3, table + 8);
    assert.equal(hasBootGuard(guarded), false);
    guarded.writeUInt32LE(0xffff_fff0, guarded.length - 0x40);
    assert.equal(hasBootGuard(guarded), false);
  });

  test("an update capsule is refused: its signature would break", () => {
    const header = Buffer.from("edd5cb6d2de8444cbda17194199ad92a1c000000000000000000100000", "hex");
    const capsule = Buffer.concat([header, small()]);
    assert.equal(capsuleName(capsule), "UEFI firmware management capsule");
    assert.throws(
      () => embed(capsule, { image: image(10) }),
      refused("is_capsule", /Its signature would break/),
    );
  });
});

test("damaged and truncated ROMs give an error or a right ROM, never a wrong one (generated)", () => {
  const pe = image(600);
  let refusals = 0;
  let made = 0;
  for (const codec of [undefined, "plain", "crc32", "tiano", "efi"] as const) {
    const good = small({ codec });
    for (let round = 0; round < 800; round++) {
      const bytes = random.below(4) === 0 ? good.slice(0, random.below(good.length)) : good.slice();
      for (let i = random.below(4); i > 0 && bytes.length > 0; i--) {
        bytes[random.below(random.below(2) === 0 ? Math.min(300, bytes.length) : bytes.length)] =
          random.u32();
      }
      const why = `${codec}, seed ${random.seed}, round ${round}`;
      try {
        const { rom } = embed(bytes, { image: pe, keepUnreadable: random.below(2) === 0 });
        // embedImage compared it with the ROM before; here only what nothing may have touched, and the image itself.
        assert.equal(rom.length, bytes.length, why);
        const found = findFiles(parseImage(rom), SHELL);
        assert.equal(found.length, 1, why);
        made++;
      } catch (error) {
        if (!(error instanceof ThimbleError)) throw new Error(why, { cause: error });
        assert.notEqual(error.code, "rom_not_verified", `${why}: ${error.message}`);
        refusals++;
      }
    }
  }
  assert.ok(refusals > 2000 && made > 200, `${refusals} refused, ${made} made, seed ${random.seed}`);
});

test("the signature of volumes in the middle of a module is not taken for a volume", () => {
  const pe = image(900);
  pe.set(Buffer.from(VOLUME_SIGNATURE), 0x80 + 400);
  const { rom } = embed(small(), { image: pe });
  assert.deepEqual(parseImage(rom).problems, []);
});
