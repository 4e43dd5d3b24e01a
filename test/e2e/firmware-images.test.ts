/** The image in a ROM that the build knows nothing of, put there by the command that users have. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ovmfFirmware } from "../../src/image/sources.ts";
import { makeRunDirectory, repositoryRoot } from "../../src/rig/paths.ts";
import { SimulatedServer } from "../../src/rig/server.ts";
import { hostReadyTimeoutMs, testAccelerator, testProduct } from "../framework/servers.ts";

describe("the image in a vendor's ROM", () => {
  test("Debian 12's OVMF, which the build does not use, boots the image that `thimble image embed` put in", async () => {
    const { image } = await testProduct();
    const { codePath, varsPath } = await ovmfFirmware("bookworm");
    const directory = makeRunDirectory("embed");
    const code = join(directory.path, "new.rom");
    const embed = spawnSync(
      process.execPath,
      [
        ...[join(repositoryRoot, "scripts/thimble.mjs"), "image", "embed"],
        ...["--rom", codePath, "--out", code, "--image", image, "--drop", "network", "setup", "drives"],
      ],
      { encoding: "utf8" },
    );
    assert.equal(embed.status, 0, embed.stderr);
    assert.match(embed.stdout, /It took the place of Shell/);
    const server = await SimulatedServer.start({
      name: "e2e-embed",
      boot: { kind: "flash", code, variables: varsPath },
      accelerator: await testAccelerator(),
    });
    try {
      const api = await server.waitForApi(hostReadyTimeoutMs);
      const host = await api.host();
      assert.ok(host.version.length > 0);
      api.close();
    } finally {
      await server.powerOff();
      directory.remove();
    }
  });
});
