/** A signed image on a drive, under firmware that has the operator's keys and no others. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ovmfSecureBoot } from "../../src/image/sources.ts";
import { makeRunDirectory, repositoryRoot } from "../../src/rig/paths.ts";
import { SimulatedServer } from "../../src/rig/server.ts";
import { makeFatDisk } from "../framework/fat-disk.ts";
import { withKeys } from "../framework/firmware-variables.ts";
import { hostReadyTimeoutMs, testAccelerator, testProduct } from "../framework/servers.ts";

const MiB = 1024 ** 2;
/** What OVMF's boot manager says of a program that it may not start. */
const REFUSED = /BdsDxe: failed to load Boot.*: (Access Denied|Security Violation)/;

describe("Secure Boot", () => {
  const directory = makeRunDirectory("secure-boot");
  const at = (name: string) => join(directory.path, name);
  const disks: string[] = [];
  let code = "";

  before(async () => {
    const { image } = await testProduct();
    const firmware = await ovmfSecureBoot("trixie");
    code = firmware.codePath;
    const files = ["-keyout", at("db.key"), "-out", at("db.crt")];
    const kind = ["-x509", "-nodes", "-newkey", "rsa:2048", "-days", "3650", "-subj", "/CN=Operator"];
    execFileSync("openssl", ["req", ...kind, ...files], { stdio: "pipe" });
    const certificate = new X509Certificate(readFileSync(at("db.crt"))).raw;
    writeFileSync(at("vars.fd"), withKeys(readFileSync(firmware.varsPath), certificate));
    const keys = ["--key", at("db.key"), "--cert", at("db.crt")];
    const sign = spawnSync(
      process.execPath,
      [
        join(repositoryRoot, "scripts/thimble.mjs"),
        "image",
        "sign",
        image,
        ...keys,
        "--out",
        at("signed.efi"),
      ],
      { encoding: "utf8" },
    );
    assert.equal(sign.status, 0, sign.stderr);
    assert.match(sign.stdout, /signed by CN=Operator/);
  });
  after(() => {
    for (const disk of disks) rmSync(disk, { force: true });
    directory.remove();
  });

  /** A server that has nothing to start but `program`, on a drive. */
  async function start(name: string, program: string): Promise<SimulatedServer> {
    const disk = makeFatDisk(`secure-boot-${name}`, { "EFI/BOOT/BOOTX64.EFI": { path: program } }, 8 * MiB);
    disks.push(disk);
    return SimulatedServer.start({
      name: `e2e-secure-boot-${name}`,
      boot: { kind: "flash", code, variables: at("vars.fd") },
      accelerator: await testAccelerator(),
      more: [
        ...["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"],
        ...[
          "-drive",
          `if=none,id=boot,format=raw,file=${disk}`,
          "-device",
          "nvme,drive=boot,serial=boot,bootindex=0",
        ],
      ],
    });
  }

  test("the signed image starts", async () => {
    const server = await start("signed", at("signed.efi"));
    try {
      const api = await server.waitForApi(hostReadyTimeoutMs);
      assert.ok((await api.host()).version.length > 0);
      api.close();
    } finally {
      await server.powerOff();
    }
  });

  test("the firmware refuses the image with one bit changed, and the one without a signature", async () => {
    const flipped = readFileSync(at("signed.efi"));
    const middle = flipped.length >> 1;
    flipped[middle] = (flipped[middle] as number) ^ 1;
    writeFileSync(at("flipped.efi"), flipped);
    const { image } = await testProduct();
    for (const [name, program] of [
      ["flipped", at("flipped.efi")],
      ["unsigned", image],
    ] as const) {
      const server = await start(name, program);
      try {
        await server.console.waitFor(REFUSED, hostReadyTimeoutMs);
      } finally {
        await server.cutPower();
      }
    }
  });
});
