/** Every firmware image that Debian packages ship, of two releases. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { before, describe, test } from "node:test";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { debPackage } from "../sources.ts";
import { program, SHELL, X64 } from "../testing/small-firmware.ts";
import { damageAndRead } from "../testing/unpacked-firmware.ts";
import { assembleImage } from "./assemble.ts";
import { embedImage } from "./embed.ts";
import { inspectRom } from "./inspect.ts";
import { formatRomReport } from "./inspect-text.ts";
import { parseImage, parseWhole } from "./parse.ts";
import type { FirmwareImage } from "./tree.ts";
import { findFiles, visitImage } from "./walk.ts";

const packages = {
  bookworm: ["ovmf", "ovmf-ia32", "qemu-efi-aarch64", "qemu-efi-arm", "seabios"],
  trixie: [
    ...["ovmf", "ovmf-ia32", "qemu-efi-aarch64", "qemu-efi-arm", "qemu-efi-riscv64"],
    ...["qemu-efi-loongarch64", "seabios"],
  ],
} as const;

interface Firmware {
  /** Suite and file name. */
  readonly name: string;
  readonly bytes: Buffer;
}

describe("firmware of Debian's packages", () => {
  const all: Firmware[] = [];
  before(async () => {
    const seen = new Set<string>();
    for (const suite of ["bookworm", "trixie"] as const) {
      for (const name of packages[suite]) {
        const directory = join(await debPackage(name, suite), "usr/share");
        const files = readdirSync(directory, { recursive: true }) as string[];
        for (const file of files.filter((each) => /\.fd$|\/(vga)?bios[^/]*\.bin$/.test(each)).sort()) {
          const path = join(directory, file);
          if (!lstatSync(path).isFile()) continue; // a second name
          const bytes = readFileSync(path);
          const hash = createHash("sha256").update(bytes).digest("hex");
          if (!seen.has(hash)) all.push({ name: `${suite}/${basename(file)}`, bytes });
          seen.add(hash);
        }
      }
    }
  });

  const named = (name: string): Firmware => {
    const found = all.find((each) => each.name === name);
    assert.ok(found !== undefined, name);
    return found;
  };

  test("each comes out byte for byte as it went in, with nothing left unread", () => {
    const kinds = { firmware: 0, other: 0 };
    for (const { name, bytes } of all) {
      const image = parseImage(bytes);
      assert.deepEqual(image.problems, [], name);
      assert.ok(Buffer.from(assembleImage(image)).equals(bytes), name);
      kinds[image.parts.some((part) => part.kind === "volume") ? "firmware" : "other"]++;
    }
    assert.ok(kinds.firmware >= 35 && kinds.other >= 20, JSON.stringify(kinds));
  });

  const refusals: readonly (readonly [RegExp, string])[] = [
    [/bios/, "not_uefi_firmware"],
    [/bookworm\/AAVMF_VARS\.fd/, "not_uefi_firmware"], // all zeros
    [/VARS/, "no_dxe_volume"],
    [/AAVMF|QEMU_EFI|RISCV|OVMF32/, "wrong_machine"],
  ];

  test("what is not firmware for the image is refused with a sentence", () => {
    const image = program(X64, new Uint8Array(1000));
    let refused = 0;
    for (const { name, bytes } of all) {
      const code = refusals.find(([pattern]) => pattern.test(name))?.[1];
      if (code === undefined) continue;
      assert.throws(
        () => embedImage(bytes, parseImage(bytes), { image }),
        (error) => {
          assert.ok(error instanceof ThimbleError && error.code === code, `${name}: ${error}`);
          assert.match(error.message, /^The .*\.$/, name);
          return true;
        },
      );
      refused++;
    }
    assert.ok(refused > 40, `${refused} refused`);
  });

  test("OVMF of every kind takes the image: 2 and 4 MiB, with and without Secure Boot, code alone and whole", () => {
    const pe = program(X64, new SeededRandom(testSeed()).fill(new Uint8Array(20_000)));
    const modules = (image: FirmwareImage): string[] => {
      const names: string[] = [];
      visitImage(image, { file: (file) => names.push(file.name) });
      return names.filter((name) => !name.startsWith("FFFFFFFF")).sort();
    };
    const choices = [
      ["bookworm/OVMF_CODE.fd", "Shell"],
      ["trixie/OVMF_CODE_4M.secboot.fd", undefined], // Debian 13 gives it no Shell
      ["trixie/OVMF.fd", "Shell"],
    ] as const;
    for (const [name, shell] of choices) {
      const { bytes } = named(name);
      const stock = parseImage(bytes);
      const made = embedImage(bytes, stock, { image: pe });
      assert.equal(made.replaced, shell, name);
      assert.equal(made.rom.length, bytes.length);
      const read = parseWhole(made.rom);
      const expected = shell === undefined ? [...modules(stock), SHELL].sort() : modules(stock);
      assert.deepEqual(modules(read), expected, name);
      assert.equal(findFiles(read, SHELL).length, 1);
    }
  });

  test("what is said of stock OVMF", () => {
    const report = inspectRom(named("bookworm/OVMF_CODE_4M.fd").bytes);
    const text = formatRomReport(report);
    assert.match(text, /7C04A583-9E3E-4F1C-AD65-E05268D0B4D1 application, [\d,]+ bytes, Shell, X64/);
    assert.match(text, /0x0 volume FFS2, 3,440,640 bytes, named 48DB5E17-[0-9A-F-]+, 1,\d{3},\d{3} free/);
    assert.match(text, /section GUID-defined, [\d,]+ bytes, LZMA, unpacked [\d,]+ bytes/);
    assert.match(text, /could be given up: "network" \(network boot .*\), about \d{3},\d{3} bytes/);
    assert.deepEqual(
      report.optional.map((gain) => gain.group),
      ["shell", "network", "setup", "drives"],
    );
    assert.deepEqual(report.problems, []);
    const variables = inspectRom(named("trixie/OVMF_VARS_4M.ms.fd").bytes).parts[0];
    assert.ok(variables?.kind === "volume" && variables.fileSystemName === "NVRAM");
    assert.ok((variables.variables?.variables ?? 0) >= 5, JSON.stringify(variables.variables));
  });

  test("the room that giving up modules makes is about what was said", () => {
    const { bytes } = named("trixie/OVMF_CODE_4M.fd");
    const image = program(X64, new Uint8Array(1000));
    const stock = parseImage(bytes);
    const network = inspectRom(bytes).optional.find((gain) => gain.group === "network");
    const kept = embedImage(bytes, stock, { image });
    const dropped = embedImage(bytes, stock, { image, drop: ["network"] });
    const gain = dropped.freeBytes - kept.freeBytes;
    assert.ok(network !== undefined);
    assert.deepEqual([...dropped.dropped].sort(), network.modules.map(({ module }) => module).sort());
    assert.ok(Math.abs(network.bytes - gain) < gain * 0.15, `${network.bytes} said, ${gain} gained`);
  });

  test("OVMF with damaged headers, inner ones too, is read without loss and never taken for right (generated)", () => {
    const { bytes } = named("bookworm/OVMF_CODE.fd");
    const random = new SeededRandom(testSeed());
    const rounds = 120;
    const wrong = damageAndRead(bytes, rounds, random);
    assert.ok(wrong > rounds / 2, `${wrong} found wrong, seed ${random.seed}`);
  });

  test("OVMF with damaged compressed data is named (generated)", () => {
    const { bytes } = named("trixie/OVMF.fd");
    const random = new SeededRandom(testSeed());
    for (let round = 0; round < 20; round++) {
      const damaged =
        random.below(3) === 0 ? bytes.subarray(0, 0x85000 + random.below(1_000_000)) : Buffer.from(bytes);
      damaged[0x84100 + random.below(3000)] = random.u32();
      const why = `seed ${random.seed}, round ${round}`;
      const image = parseImage(damaged);
      assert.ok(Buffer.from(assembleImage(image)).equals(damaged), why);
      assert.ok(image.problems.length > 0 || Buffer.from(damaged).equals(bytes), why);
    }
  });
});
