/** Thousands of damaged ROMs, made of the firmware that Debian ships. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { SeededRandom, testSeed } from "../../src/base/random.ts";
import { ovmfFirmware } from "../../src/image/sources.ts";
import { damageAndRead } from "../../src/image/testing/unpacked-firmware.ts";

const ROUNDS = 1500;

describe("damaged and truncated ROMs", () => {
  for (const suite of ["bookworm", "trixie"] as const) {
    test(`${ROUNDS} made of ${suite}'s OVMF give an error or a right ROM, never a wrong one (generated)`, async () => {
      const { codePath } = await ovmfFirmware(suite);
      const random = new SeededRandom(testSeed());
      const wrong = damageAndRead(readFileSync(codePath), ROUNDS, random);
      assert.ok(wrong > ROUNDS / 2, `${wrong} found wrong, seed ${random.seed}`);
    });
  }
});
