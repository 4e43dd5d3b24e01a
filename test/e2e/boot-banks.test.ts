/** The flash of two banks: which one the selector starts, and how a bank becomes the host's own. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { CHOICE, VENDOR } from "../../src/host/firmware/boot-bank.ts";
import { IMAGE_OFFSET } from "../../src/image/selector/bank.ts";
import { BANK_BYTES } from "../../src/image/selector/two-banks.ts";
import { makeRunDirectory } from "../../src/rig/paths.ts";
import { SimulatedServer } from "../../src/rig/server.ts";
import { withVariables } from "../framework/firmware-variables.ts";
import { hostReadyTimeoutMs, testAccelerator, testProduct } from "../framework/servers.ts";

const B = 1;

describe("boot banks", () => {
  const directory = makeRunDirectory("boot-banks");
  after(() => directory.remove());

  /** A server with the flash from the factory, changed by `change`; `choice`: which bank is wanted, and its tries. */
  async function start(
    name: string,
    change: (flash: Uint8Array) => void,
    choice?: { bank: number; tries: number },
  ): Promise<SimulatedServer> {
    const product = await testProduct();
    let flash: Uint8Array = readFileSync(product.flash.variables);
    change(flash);
    if (choice !== undefined) {
      const value = Uint8Array.of(1, choice.bank, choice.tries, 0);
      const stored = { name: CHOICE, vendorGuid: VENDOR, attributes: 7, value };
      const variables = withVariables(flash.subarray(2 * BANK_BYTES), [stored]);
      flash = Buffer.concat([flash.subarray(0, 2 * BANK_BYTES), variables]);
    }
    const variables = join(directory.path, `${name}.fd`);
    writeFileSync(variables, flash);
    return SimulatedServer.start({
      name: `e2e-banks-${name}`,
      boot: { ...product.flash, variables },
      accelerator: await testAccelerator(),
    });
  }
  const damage = (flash: Uint8Array, bank: number) => {
    const at = bank * BANK_BYTES + IMAGE_OFFSET + 1_000_000;
    flash[at] = (flash[at] as number) ^ 0x10;
  };
  const waitFor = async (server: SimulatedServer, what: RegExp, from = 0) =>
    (await server.console.waitFor(what, hostReadyTimeoutMs, from)).match;

  test("the server starts from bank A, and from B when A is damaged", async () => {
    for (const [name, change, said] of [
      ["whole", () => {}, /bank A starts, version \d+\.\d+/],
      ["damaged", (flash: Uint8Array) => damage(flash, 0), /bank A is damaged[\s\S]*bank B starts/],
    ] as const) {
      const server = await start(name, change);
      try {
        await waitFor(server, said);
        const api = await server.waitForApi(hostReadyTimeoutMs);
        assert.ok((await api.host()).version.length > 0);
        api.close();
      } finally {
        await server.powerOff();
      }
    }
  });

  test("a flash of 4 MiB, too, holds the image: in the firmware's own volume", async () => {
    const { singleSlot } = await testProduct();
    const server = await SimulatedServer.start({
      name: "e2e-single-slot",
      boot: singleSlot,
      accelerator: await testAccelerator(),
    });
    try {
      const api = await server.waitForApi(hostReadyTimeoutMs);
      assert.ok((await api.host()).version.length > 0);
      api.close();
    } finally {
      await server.powerOff();
    }
  });

  test("with both banks damaged the firmware says so and goes on", async () => {
    const server = await start("none", (flash) => {
      damage(flash, 0);
      damage(flash, 1);
    });
    try {
      await waitFor(server, /bank A is damaged[\s\S]*bank B is damaged[\s\S]*no bank could be started/);
    } finally {
      await server.cutPower();
    }
  });

  test("a bank on its last try that serves its API is confirmed, and starts again after a power cut", async () => {
    const server = await start("trial", () => {}, { bank: B, tries: 1 });
    try {
      await waitFor(server, /boot bank B is confirmed/);
      const from = server.console.position;
      await server.qmp.execute("system_reset");
      await waitFor(server, /bank B starts/, from);
      (await server.waitForApi(hostReadyTimeoutMs, from)).close();
    } finally {
      await server.cutPower();
    }
  });

  test("a bank that never comes so far is given up after its tries, and the host says so", async () => {
    const server = await start("given-up", () => {}, { bank: B, tries: 2 });
    try {
      for (let attempt = 0; attempt < 2; attempt++) {
        const from = server.console.position;
        await waitFor(server, /bank B starts/, from);
        await server.qmp.execute("system_reset");
      }
      await waitFor(server, /bank B was tried often enough[\s\S]*bank A starts/);
      await waitFor(server, /boot bank A runs, because the one that was chosen did not start/);
    } finally {
      await server.cutPower();
    }
  });
});
