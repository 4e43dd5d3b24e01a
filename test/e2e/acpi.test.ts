/** The ACPI tables that a guest sees satisfy the field's own compiler. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { artifactDirectory, sharedServer } from "../framework/servers.ts";
import { withGuest } from "../framework/test-vm.ts";

function iasl(directory: string, ...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync("iasl", args, { cwd: directory, encoding: "utf8" });
  return { status, output: `${stdout}${stderr}` };
}

describe("ACPI tables", () => {
  test("dumped from a guest, decompile with iasl without errors or warnings", async () => {
    const { api } = await sharedServer();
    const directory = join(artifactDirectory, "acpi");
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });

    const names = await withGuest(api, { cpus: 2 }, async ({ shell }) => {
      const found = (await shell.output("cd /sys/firmware/acpi/tables && ls -p | grep -v /")).split(/\s+/);
      for (const name of found) {
        writeFileSync(
          join(directory, `${name}.dat`),
          await shell.readFile(`/sys/firmware/acpi/tables/${name}`),
        );
      }
      return found;
    });
    for (const required of ["APIC", "DSDT", "FACP", "MCFG"])
      assert.ok(names.includes(required), `no ${required}`);

    for (const name of names.filter((table) => table !== "FACS")) {
      const { status, output } = iasl(directory, "-d", `${name}.dat`);
      assert.equal(status, 0, output);
      assert.doesNotMatch(output, /\b(error|warning|invalid|could not)\b/i, `${name}: ${output}`);
    }
    // What was decompiled compiles again: the AML is not merely readable, it is well-formed.
    const { status, output } = iasl(directory, "-tc", "DSDT.dsl");
    assert.equal(status, 0, output);
    assert.match(output, /0 Errors, 0 Warnings/, output);
  });
});
