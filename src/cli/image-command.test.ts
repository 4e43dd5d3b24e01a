import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { ThimbleError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import { assembleImage } from "../image/firmware/assemble.ts";
import type { RomReport } from "../image/firmware/inspect.ts";
import { repositoryRoot } from "../image/profile.ts";
import { program, SHELL, smallFirmware, X64 } from "../image/testing/small-firmware.ts";
import { thimbleCommand } from "./command.ts";

describe("thimble image", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-cli-"));
  after(() => rmSync(directory, { recursive: true }));
  const at = (name: string): string => join(directory, name);
  const random = new SeededRandom(7);
  const fill = (target: Uint8Array): Uint8Array => random.fill(target);

  beforeEach(() => {
    writeFileSync(at("vendor.rom"), assembleImage(smallFirmware({ codec: "lzma", roomBytes: 1024, fill })));
    writeFileSync(at("image.efi"), program(X64, fill(new Uint8Array(600))));
    writeFileSync(at("large.efi"), program(X64, fill(new Uint8Array(3300))));
    rmSync(at("new.rom"), { force: true });
  });

  /** Runs a command in this process; returns what it prints. */
  async function run(...args: string[]): Promise<string> {
    let printed = "";
    const print = (text: string): void => {
      printed += text;
    };
    await thimbleCommand({ print }).parseAsync(["image", ...args], { from: "user" });
    return printed;
  }
  const files = ["--rom", at("vendor.rom"), "--out", at("new.rom")];
  const embed = (image: string, ...more: string[]): Promise<string> =>
    run("embed", ...files, "--image", at(image), ...more);
  const refused = (code: string, pattern: RegExp) => (error: unknown) => {
    assert.ok(error instanceof ThimbleError && error.code === code, String(error));
    assert.match(error.message, pattern);
    return true;
  };

  test("inspect shows the tree, and the same as JSON", async () => {
    assert.match(await run("inspect", at("vendor.rom")), /7C04A583.* application, [\d,]+ bytes, Shell, X64/);
    const report = JSON.parse(await run("inspect", at("vendor.rom"), "--json")) as RomReport;
    assert.deepEqual(
      report.parts.map((part) => part.kind),
      ["volume", "volume", "bytes"],
    );
    assert.deepEqual(
      report.optional.map(({ group }) => group),
      ["shell", "network"],
    );
  });

  test("inspect of a damaged ROM shows what can be read, and fails", async () => {
    const rom = readFileSync(at("vendor.rom"));
    rom[75] = (rom[75] as number) ^ 1;
    writeFileSync(at("damaged.rom"), rom);
    await assert.rejects(
      run("inspect", at("damaged.rom")),
      refused("rom_damaged", /problems are listed above/),
    );
  });

  test("embed writes a new ROM and says what it did", async () => {
    const before = readFileSync(at("vendor.rom"));
    const said = await embed("image.efi");
    assert.match(said, /the image of 728 bytes is in it, \d+ bytes are left\.\nIt took the place of Shell/);
    assert.ok(readFileSync(at("vendor.rom")).equals(before));
    assert.equal(readFileSync(at("new.rom")).length, before.length);
    assert.doesNotMatch(await run("inspect", at("new.rom")), /, Shell,/);
    const facts = JSON.parse(await embed("large.efi", "--drop", "network", "--json"));
    assert.equal(facts.fileName, SHELL);
    assert.deepEqual(facts.dropped, ["TcpDxe"]);
  });

  test("an image that does not fit is refused with the numbers, and nothing is written", async () => {
    const numbers = /3428 bytes does not fit: \d+ bytes are missing\.\n.*\n {2}--drop network: about 1\d{3} /;
    await assert.rejects(embed("large.efi"), refused("image_does_not_fit", numbers));
    assert.equal(existsSync(at("new.rom")), false);
  });

  test("the old ROM is never overwritten, and files that are not there are named", async () => {
    const same = [
      "--rom",
      at("vendor.rom"),
      "--out",
      `${directory}/./vendor.rom`,
      "--image",
      at("image.efi"),
    ];
    await assert.rejects(run("embed", ...same), refused("same_file", /must be another file/));
    await assert.rejects(embed("nothing.efi"), refused("file_not_readable", /nothing\.efi can't be read/));
    await assert.rejects(run("inspect", directory), refused("file_not_readable", /EISDIR/));
    const nowhere = ["--rom", at("vendor.rom"), "--out", at("no/where.rom"), "--image", at("image.efi")];
    await assert.rejects(
      run("embed", ...nowhere),
      refused("file_not_writable", /no\/where\.rom can't be written/),
    );
  });

  test("the program ends with a status: 0, 1 with a sentence, 64 for a wrong command line", () => {
    const thimble = (...args: string[]) => {
      const script = join(repositoryRoot, "scripts/thimble.mjs");
      return spawnSync(process.execPath, [script, ...args], { cwd: directory, encoding: "utf8" });
    };
    const good = thimble("image", "inspect", "vendor.rom");
    assert.equal(good.status, 0, good.stderr);
    assert.match(good.stdout, /^ROM, /);
    const bad = thimble("image", "embed", "--rom", "image.efi", "--out", "new.rom", "--image", "image.efi");
    assert.equal(bad.status, 1);
    assert.equal(bad.stderr, "thimble: The ROM has no firmware volumes: it is not UEFI firmware.\n");
    assert.equal(thimble("image", "embed").status, 64);
    assert.equal(thimble("--help").status, 0);
  });
});
