/** The image as a disk, started by a stock UEFI that knows nothing of it. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ovmfFirmware, ovmfSecureBoot } from "../../src/image/sources.ts";
import { makeRunDirectory, repositoryRoot } from "../../src/rig/paths.ts";
import { SimulatedServer } from "../../src/rig/server.ts";
import { withKeys } from "../framework/firmware-variables.ts";
import { hostReadyTimeoutMs, testAccelerator, testProduct } from "../framework/servers.ts";

/** An image's byte in bank A, by the disk's layout (src/image/disk-form/disk-image.ts). */
const IN_BANK_A = 41 * 2 ** 20 + 1_000_000;

describe("the image as a disk", () => {
  const directory = makeRunDirectory("disk-image");
  const at = (name: string) => join(directory.path, name);
  after(() => directory.remove());

  function makeDisk(name: string, ...more: string[]): string {
    const command = [
      join(repositoryRoot, "scripts/thimble.mjs"),
      "image",
      "disk",
      "--out",
      at(name),
      ...more,
    ];
    const made = spawnSync(process.execPath, command, { encoding: "utf8" });
    assert.equal(made.status, 0, made.stderr);
    return at(name);
  }

  before(async () => {
    await testProduct();
    makeDisk("disk.img");
  });

  /** Starts from the disk on a drive of this kind. */
  async function start(
    name: string,
    disk: string,
    drive: readonly string[],
    firmware: { codePath: string; varsPath: string },
    more: readonly string[] = [],
  ): Promise<SimulatedServer> {
    return SimulatedServer.start({
      name: `e2e-disk-${name}`,
      boot: { kind: "flash", code: firmware.codePath, variables: firmware.varsPath },
      accelerator: await testAccelerator(),
      more: ["-drive", `if=none,id=boot,format=raw,file=${disk}`, ...drive, ...more],
    });
  }
  async function reachesApi(server: SimulatedServer, said: RegExp): Promise<void> {
    try {
      await server.console.waitFor(said, hostReadyTimeoutMs);
      const api = await server.waitForApi(hostReadyTimeoutMs);
      assert.ok((await api.host()).version.length > 0);
      api.close();
    } finally {
      await server.powerOff();
    }
  }
  const nvme = ["-device", "nvme,drive=boot,serial=boot,bootindex=0"];

  test("starts from a USB stick", async () => {
    const usb = ["-device", "qemu-xhci", "-device", "usb-storage,drive=boot,bootindex=0"];
    const server = await start("usb", at("disk.img"), usb, await ovmfFirmware("trixie"));
    await reachesApi(server, /bank A starts, version/);
  });

  test("starts from an NVMe drive, and from bank B when A is damaged there", async () => {
    const disk = openSync(at("disk.img"), "r+");
    const byte = new Uint8Array(1);
    readSync(disk, byte, 0, 1, IN_BANK_A);
    writeSync(disk, Uint8Array.of((byte[0] as number) ^ 1), 0, 1, IN_BANK_A);
    const server = await start("nvme", at("disk.img"), nvme, await ovmfFirmware("trixie"));
    await reachesApi(server, /bank A is damaged[\s\S]*bank B starts/);
  });

  test("signed, it starts under Secure Boot", async () => {
    const files = ["-keyout", at("db.key"), "-out", at("db.crt")];
    const kind = ["-x509", "-nodes", "-newkey", "rsa:2048", "-days", "3650", "-subj", "/CN=Operator"];
    execFileSync("openssl", ["req", ...kind, ...files], { stdio: "pipe" });
    const signed = makeDisk("signed.img", "--key", at("db.key"), "--cert", at("db.crt"));
    const firmware = await ovmfSecureBoot("trixie");
    const certificate = new X509Certificate(readFileSync(at("db.crt"))).raw;
    writeFileSync(at("vars.fd"), withKeys(readFileSync(firmware.varsPath), certificate));
    const smm = ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"];
    const server = await start("signed", signed, nvme, { ...firmware, varsPath: at("vars.fd") }, smm);
    await reachesApi(server, /bank A starts, version/);
  });
});
