import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { peMachine } from "../firmware/executable.ts";
import { repositoryRoot } from "../profile.ts";
import { runTool } from "../runtime/tool.ts";
import { signable } from "../signing/pe.ts";
import { BankHeader, buildBank, IMAGE_OFFSET } from "./bank.ts";
import { buildSelector } from "./build.ts";
import { BANK_BYTES } from "./two-banks.ts";

const ROUNDS = 400;
const START = [0xff00_0000, 0xff00_0000 + BANK_BYTES] as const;
const NAMES = ["A", "B"] as const;
/** The selector with the firmware's file around it: it lives in a ROM beside others. */
const PROGRAM_BYTES_MAX = 5120;

describe("the boot selector", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-selector-test-"));
  const flash = join(directory, "flash");
  const harness = join(directory, "harness");
  const small = new SeededRandom(3).fill(new Uint8Array(5000));
  // Only the beginning of a bank that is nearly empty matters, and it is made many times.
  const whole = buildBank(small, "1.2.3", IMAGE_OFFSET + small.length);

  before(async () => {
    const source = join(repositoryRoot, "firmware/selector/harness.c");
    const checks = ["-fsanitize=undefined", "-fno-sanitize-recover=all"];
    await runTool("gcc", [
      "-std=gnu11",
      "-Wall",
      "-O1",
      "-g",
      "-fshort-wchar",
      ...checks,
      source,
      "-o",
      harness,
    ]);
  });
  after(() => rmSync(directory, { recursive: true }));

  /** What the selector does with these banks. */
  function select(
    banks: readonly (Uint8Array | null)[],
    variable = "-",
    { store = true, load = true, run = true, from = "flash" } = {},
  ): string {
    const fd = openSync(flash, "w");
    ftruncateSync(fd, 2 * BANK_BYTES);
    banks.forEach((bank, i) => {
      if (bank !== null) writeSync(fd, bank, 0, bank.length, i * BANK_BYTES);
    });
    closeSync(fd);
    const outcomes = [
      store ? "store" : "refuse-store",
      load ? "load" : "refuse-load",
      run ? "run" : "return",
    ];
    const { status, stdout, stderr } = spawnSync(harness, [from, flash, variable, ...outcomes], {
      encoding: "utf8",
    });
    assert.equal(status, 0, stderr);
    return stdout;
  }
  /** By which bank has been said to start: where the image lies differs on a drive. */
  const said = (output: string) =>
    NAMES.filter((name) => new RegExp(`bank ${name} starts[\\s\\S]*\\[start`).test(output)).join("");
  const starts = (bank: 0 | 1) => `[start ${(START[bank] + IMAGE_OFFSET).toString(16)}]`;
  const started = (output: string) => NAMES.filter((_, i) => output.includes(starts(i as 0 | 1))).join("");
  /** ThimbleBoot: version, bank, tries left (ff: confirmed). */
  const choice = (bank: number, tries: number) => Buffer.from([1, bank, tries, 0]).toString("hex");

  test("is a small EFI program that can be signed, the same each time", async () => {
    const program = await buildSelector();
    assert.equal(peMachine(program), 0x8664);
    assert.ok(program.length <= PROGRAM_BYTES_MAX, `${program.length} bytes`);
    assert.equal(signable(program).digest.length, 32);
    assert.deepEqual(await buildSelector(), program);
  });

  test("takes bank A from the factory, and the bank that is confirmed", () => {
    assert.match(select([whole, whole]), /bank A starts, version 1\.2\.3\r\n\[set ThimbleBank 00\]/);
    assert.equal(started(select([whole, whole], choice(0, 0xff))), "A");
    const b = select([whole, whole], choice(1, 0xff));
    assert.equal(started(b), "B");
    assert.match(b, /\[set ThimbleBank 01\]/);
    assert.ok(!b.includes("ThimbleBoot"), "nothing to store");
  });

  test("stores a try before it starts a bank that is not confirmed, and then takes the other", () => {
    const second = select([whole, whole], choice(1, 2));
    assert.ok(second.indexOf(`[set ThimbleBoot ${choice(1, 1)}]`) < second.indexOf(starts(1)));
    assert.equal(started(second), "B");
    const last = select([whole, whole], choice(1, 1));
    assert.match(last, new RegExp(`\\[set ThimbleBoot ${choice(1, 0)}\\]`));
    assert.equal(started(last), "B");
    const over = select([whole, whole], choice(1, 0));
    assert.equal(started(over), "A");
    assert.match(over, /bank B was tried often enough without success\r\n/);
    assert.ok(!over.includes("ThimbleBoot"));
  });

  test("does not try a bank when the firmware cannot store it", () => {
    const output = select([whole, whole], choice(1, 2), { store: false });
    assert.equal(started(output), "A");
    assert.match(output, /bank B is not tried/);
  });

  test("goes to the other bank when one is empty, damaged, refused by the firmware, or returns", () => {
    const damaged = Uint8Array.from(whole);
    damaged[IMAGE_OFFSET + 777] = (damaged[IMAGE_OFFSET + 777] as number) ^ 4;
    assert.match(
      select([damaged, whole]),
      /bank A is damaged: its check sum is another\r\n[\s\S]*bank B starts/,
    );
    assert.match(select([null, whole]), /bank A is empty\r\n[\s\S]*bank B starts/);
    assert.equal(started(select([whole, damaged], choice(1, 0xff))), "A");
    const refused = select([whole, whole], "-", { load: false });
    assert.equal(started(refused), "");
    assert.match(refused, /bank A is not started: the firmware refuses its image\r\n\[unload/);
    assert.equal(started(select([whole, whole], "-", { run: false })), "AB");
    const none = select([damaged, null]);
    assert.match(none, /no bank could be started; the firmware goes on\r\n\[end 8000000000000001\]/);
  });

  test("any bank and any variable: whole banks start, others never do, and no byte outside is read", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const seen = new Set<string>();
    for (let round = 0; round < ROUNDS; round++) {
      const from = ["flash", "drive"][round % 2] as string;
      const banks = [0, 1].map(() => {
        const kind = random.below(4);
        const bank = Uint8Array.from(whole);
        if (kind === 0)
          bank[random.below(random.below(2) === 0 ? BankHeader.size : bank.length)] = random.below(256);
        if (kind === 1) BankHeader.patch(bank, 0, { imageSize: random.below(2 ** 32) });
        return bank;
      });
      const variable =
        random.below(3) === 0
          ? Buffer.from(random.fill(new Uint8Array(random.below(7)))).toString("hex") || "-"
          : choice(random.below(3), [0, 1, 3, 0xff][random.below(4)] as number);
      const what = `seed ${seed}, round ${round}, variable ${variable}`;
      const output = select(banks, variable, { from });
      // Bytes between header and image are nobody's.
      const isWhole = banks.map((bank) =>
        [[0, BankHeader.size] as const, [IMAGE_OFFSET, bank.length] as const].every(([from, to]) =>
          Buffer.from(bank.subarray(from, to)).equals(whole.subarray(from, to)),
        ),
      );
      const [version, bank = 2, tries = 0] = Buffer.from(variable === "-" ? "" : variable, "hex");
      const isChoice = variable.length === 8 && version === 1 && bank < 2;
      const first = isChoice && tries > 0 ? bank : isChoice ? 1 - bank : 0;
      const expected = isWhole[first] ? first : isWhole[1 - first] ? 1 - first : 2;
      assert.equal(said(output), NAMES[expected] ?? "", `${what}: ${output}`);
      if (expected === 2) assert.match(output, /no bank could be started/, what);
      seen.add(`${said(output)}${first}${from}`);
    }
    assert.equal(seen.size, 12, [...seen].join());
  });

  test("on a drive the banks are its second and third partition, not another drive's", () => {
    const output = select([whole, whole], choice(1, 2), { from: "drive" });
    assert.match(
      output,
      /ThimbleBoot 01010100\]\n\[load ff001000 5000\]\nThimble: bank B starts, version 1\.2\.3/,
    );
    const empty = select([null, whole], "-", { from: "drive" });
    assert.match(empty, /bank A is empty\r\n\[load ff601000 5000\]\nThimble: bank B starts/);
  });

  test("an image that is too large for a bank is refused with the numbers", () => {
    const fits = (error: unknown) => error instanceof ThimbleError && error.code === "image_does_not_fit";
    assert.throws(() => buildBank(small, "1", 5000), fits);
  });
});
