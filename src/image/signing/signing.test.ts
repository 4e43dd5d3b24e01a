import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { debPackage } from "../sources.ts";
import { readSigner, type Signer, signImage } from "./authenticode.ts";
import { objectIdentifier, readElements, sequence } from "./der.ts";

const DAMAGED_PROGRAMS = 3000;

describe("signing for Secure Boot", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-sign-"));
  const at = (name: string) => join(directory, name);
  let shell: Uint8Array;
  let signer: Signer;

  function makeKey(name: string, ...algorithm: string[]): void {
    const subject = ["-subj", `/O=Thimble/CN=${name}`, "-days", "3650"];
    const files = ["-keyout", at(`${name}.key`), "-out", at(`${name}.crt`)];
    execFileSync("openssl", ["req", "-x509", "-nodes", ...algorithm, ...files, ...subject], {
      stdio: "pipe",
    });
  }
  const read = (key: string, certificate = key): Signer =>
    readSigner(readFileSync(at(`${key}.key`)), readFileSync(at(`${certificate}.crt`)));
  const verify = (file: Uint8Array, certificate: string) => {
    writeFileSync(at("signed.efi"), file);
    return spawnSync("sbverify", ["--cert", at(`${certificate}.crt`), at("signed.efi")], {
      encoding: "utf8",
    });
  };
  const coded = (code: string) => (error: unknown) => error instanceof ThimbleError && error.code === code;

  before(async () => {
    makeKey("first", "-newkey", "rsa:2048");
    makeKey("second", "-newkey", "rsa:4096");
    const found = await debPackage("efi-shell-x64", "trixie");
    shell = readFileSync(join(found, "usr/share/efi-shell-x64/shellx64.efi"));
    signer = read("first");
  });
  after(() => rmSync(directory, { recursive: true }));

  test("a real EFI program is signed so that sbverify accepts it, with its certificate and no other", () => {
    const signed = signImage(shell, signer);
    const good = verify(signed, "first");
    assert.match(good.stdout, /Signature verification OK/, good.stderr);
    assert.notEqual(verify(signed, "second").status, 0);
    assert.equal(verify(signImage(shell, read("second")), "second").status, 0);
    assert.deepEqual(Buffer.from(signImage(shell, signer)), Buffer.from(signed), "twice the same bytes");
  });

  test("a file whose length is no multiple of 8 is filled up, and that is covered, too", () => {
    for (const extra of [1, 7, 8, 13]) {
      const odd = new Uint8Array(shell.length + extra).fill(0x5a);
      odd.set(shell);
      const signed = signImage(odd, signer);
      assert.equal(verify(signed, "first").status, 0);
      const changed = Uint8Array.from(signed);
      changed[odd.length - 1] = 0;
      assert.notEqual(verify(changed, "first").status, 0);
    }
  });

  test("a byte changed anywhere that matters is noticed", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const signed = signImage(shell, signer);
    for (let round = 0; round < 20; round++) {
      const changed = Uint8Array.from(signed);
      const where = 0x400 + random.below(shell.length - 0x400);
      changed[where] = (changed[where] as number) ^ (1 << random.below(8));
      assert.notEqual(verify(changed, "first").status, 0, `seed ${seed}: byte ${where}`);
    }
  });

  test("what cannot be signed is refused by name", () => {
    assert.throws(() => signImage(signImage(shell, signer), signer), coded("already_signed"));
    assert.throws(() => signImage(new Uint8Array(5000), signer), coded("not_an_efi_program"));
    assert.throws(
      () => signImage(shell.subarray(0, shell.length - 4096), signer),
      coded("not_an_efi_program"),
    );
    assert.throws(() => read("first", "second"), coded("key_mismatch"));
    const certificate = readFileSync(at("first.crt"));
    assert.throws(() => readSigner(Buffer.from("no key"), certificate), coded("bad_key"));
    assert.throws(
      () => readSigner(readFileSync(at("first.key")), Buffer.from("none")),
      coded("bad_certificate"),
    );
    makeKey("curve", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1");
    makeKey("short", "-newkey", "rsa:1024");
    assert.throws(() => read("curve"), coded("bad_key"));
    assert.throws(() => read("short"), coded("bad_key"));
  });

  test("damaged programs are signed or refused, never anything else", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const outcomes = new Set<string>();
    // A signature takes a millisecond; the headers decide, so nearly all of the program can go.
    for (let round = 0; round < DAMAGED_PROGRAMS; round++) {
      let damaged = Uint8Array.from(shell.subarray(0, random.below(8) === 0 ? random.below(0x600) : 0x2000));
      for (let i = random.below(4); i >= 0; i--) damaged[random.below(0x200)] = random.below(256);
      if (random.below(4) === 0) {
        damaged = Uint8Array.from(shell);
        damaged[random.below(0x300)] = random.below(256);
      }
      try {
        signImage(damaged, signer);
        outcomes.add("signed");
      } catch (error) {
        assert.ok(error instanceof ThimbleError, `seed ${seed}, round ${round}: ${error}`);
        outcomes.add(error.code);
      }
    }
    assert.ok(outcomes.has("signed") && outcomes.has("not_an_efi_program"), [...outcomes].join());
  });

  test("DER: long lengths, large arcs, and data that end early", () => {
    assert.equal(sequence(new Uint8Array(300)).subarray(0, 4).toString("hex"), "3082012c");
    assert.equal(objectIdentifier("1.2.840.113549").toString("hex"), "06062a864886f70d");
    for (const text of ["30", "3005", "308000", "3082", "308201", "3085ffffffffff"]) {
      assert.throws(() => readElements(Buffer.from(text, "hex")), coded("bad_der"), text);
    }
  });
});
