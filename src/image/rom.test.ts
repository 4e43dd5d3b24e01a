import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { ThimbleError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import { optionalGroups } from "./firmware/optional.ts";
import { parseImage } from "./firmware/parse.ts";
import { moduleName } from "./firmware/tree.ts";
import { findFiles, visitImage } from "./firmware/walk.ts";
import { buildRom } from "./rom.ts";
import { ovmfFirmware } from "./sources.ts";
import { program, X64 } from "./testing/small-firmware.ts";

const SHELL = "7C04A583-9E3E-4F1C-AD65-E05268D0B4D1";

describe("the flash ROM", () => {
  let ovmfCode: Buffer;
  let ovmfVars: Buffer;
  before(async () => {
    const { codePath, varsPath } = await ovmfFirmware("trixie");
    ovmfCode = readFileSync(codePath);
    ovmfVars = readFileSync(varsPath);
  });
  /** As incompressible as a packed kernel. */
  const image = (sizeBytes: number): Uint8Array =>
    program(X64, new SeededRandom(5).fill(new Uint8Array(sizeBytes)));

  test("keeps its size and holds the image, at the first level for a small one", () => {
    const small = image(100_000);
    const rom = buildRom({ ovmfCode, ovmfVars, image: small });
    assert.equal(rom.level.name, "shell");
    assert.equal(rom.code.length, ovmfCode.length);
    assert.equal(rom.code.length + rom.vars.length, 4 * 1024 * 1024);
    const [found] = findFiles(parseImage(rom.code), SHELL);
    const content = found?.file.content;
    assert.ok(content !== undefined && !(content instanceof Uint8Array) && content[0]?.kind === "leaf");
    assert.deepEqual(Buffer.from(content[0].data), Buffer.from(small));
  });

  test("gives up no more than it must", () => {
    const rom = buildRom({ ovmfCode, ovmfVars, image: image(2_400_000) });
    assert.equal(rom.level.name, "network");
    const left: string[] = [];
    visitImage(parseImage(rom.code), { file: (file) => left.push(moduleName(file) ?? "") });
    assert.ok(left.includes("UiApp") && left.includes("NvmExpressDxe"));
    assert.ok(!left.includes("TcpDxe") && !left.includes("Shell"));
  });

  test("says by how much an image is too large", () => {
    const build = () => buildRom({ ovmfCode, ovmfVars, image: image(3_400_000), level: "drives" });
    assert.throws(build, (error) => {
      assert.ok(error instanceof ThimbleError && error.code === "image_does_not_fit");
      assert.match(error.message, /\d+ bytes too large at level "drives"/);
      return true;
    });
  });

  test("every module that is given up is one that OVMF has", () => {
    const names = new Set<string>();
    visitImage(parseImage(ovmfCode), { file: (file) => names.add(moduleName(file) ?? "") });
    const given = optionalGroups.flatMap((group) => group.modules);
    assert.deepEqual(
      given.filter((name) => !names.has(name)),
      [],
    );
  });

  test("an unknown level is refused", () => {
    assert.throws(() => buildRom({ ovmfCode, ovmfVars, image: image(10), level: "all" }), /no give-up level/);
  });
});
