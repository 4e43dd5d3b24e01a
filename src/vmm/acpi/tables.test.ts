import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { GiB, MiB } from "../../base/addresses.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { Gsi, LowMemory, Mmio, pciInterrupt, pciWindow64 } from "../platform.ts";
import { FACS_ALIGN } from "./facs.ts";
import { FadtBody } from "./fadt.ts";
import { LocalApicEntry, MadtBody } from "./madt.ts";
import { Rsdp } from "./rsdp.ts";
import { checksum, TableHeader } from "./table.ts";
import {
  type AcpiConfig,
  buildAcpiTables,
  directBootConfig,
  layoutAcpiTables,
  type PlacedTable,
} from "./tables.ts";

function config(cpus: number, memoryBytes: number, addressBits = 48): AcpiConfig {
  return directBootConfig(cpus, pciWindow64(memoryBytes, addressBits));
}

function signatureOf(table: PlacedTable): string {
  return String.fromCharCode(...table.bytes.subarray(0, 4)).trim();
}

function tableNamed(tables: readonly PlacedTable[], signature: string): Uint8Array {
  const found = tables.find((t) => signatureOf(t) === signature);
  assert.ok(found, signature);
  return found.bytes;
}

test("every length and checksum is right, nothing overlaps, and the pointers lead from the RSDP to every table", () => {
  for (const cpus of [1, 2, 64]) {
    const memory = GuestMemory.forTest(16 * MiB);
    const rsdpAt = buildAcpiTables(memory, config(cpus, 16 * MiB));
    const { bios } = LowMemory;
    let end = bios.start;
    for (const table of layoutAcpiTables(config(cpus, 16 * MiB)).sort((a, b) => a.address - b.address)) {
      assert.ok(table.address >= end && table.address + table.bytes.length <= bios.start + bios.size);
      end = table.address + table.bytes.length;
    }
    assert.equal(rsdpAt % 16, 0);
    const rsdp = Rsdp.decode(memory.read(rsdpAt, Rsdp.size));
    assert.equal(rsdp.signature, "RSD PTR ");
    assert.equal(checksum(memory.read(rsdpAt, 20)), 0);
    assert.equal(checksum(memory.read(rsdpAt, Rsdp.size)), 0);
    const load = (address: number) => {
      const header = TableHeader.decode(memory.read(address, TableHeader.size));
      const bytes = memory.read(address, header.length);
      if (header.signature !== "FACS") assert.equal(checksum(bytes), 0, header.signature);
      return { signature: header.signature, bytes };
    };
    const xsdt = load(rsdp.xsdt_address).bytes;
    const listed = [];
    for (let at = TableHeader.size; at < xsdt.length; at += 8) {
      listed.push(load(Number(new DataView(xsdt.buffer).getBigUint64(at, true))));
    }
    assert.deepEqual(
      listed.map((t) => t.signature),
      ["FACP", "APIC", "MCFG"],
    );
    const fadt = FadtBody.decode(listed[0]?.bytes as Uint8Array, TableHeader.size);
    assert.equal(load(fadt.dsdt).signature, "DSDT");
    assert.equal(fadt.x_dsdt, fadt.dsdt);
    assert.equal(load(fadt.firmware_ctrl).signature, "FACS");
    assert.equal(fadt.firmware_ctrl % FACS_ALIGN, 0);
    assert.equal(listed[0]?.bytes.length, 276);
  }
});

test("the MADT has one enabled local APIC for each CPU", () => {
  const madt = tableNamed(layoutAcpiTables(config(64, GiB)), "APIC");
  for (let cpu = 0; cpu < 64; cpu++) {
    const at = TableHeader.size + MadtBody.size + cpu * LocalApicEntry.size;
    assert.deepEqual(LocalApicEntry.decode(madt, at), {
      type: 0,
      length: 8,
      processor_uid: cpu,
      apic_id: cpu,
      flags: 1,
    });
  }
});

test("windows and interrupts of the platform keep out of each other's way", () => {
  for (const memory of [128 * MiB, 3 * GiB, 5 * GiB, 600 * GiB]) {
    for (const bits of [36, 39, 40, 48, 52]) {
      const window = pciWindow64(memory, bits);
      if (window === null) continue;
      assert.ok(window.start >= 4 * GiB && window.start + 3 * GiB >= memory + GiB);
      assert.ok(window.start + window.size <= 2 ** bits);
    }
  }
  assert.equal(Mmio.pciWindow.start + Mmio.pciWindow.size, Mmio.ecam.start);
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      const gsi = pciInterrupt(slot, pin);
      assert.ok(gsi >= 16 && gsi < Gsi.ioapicInputs);
    }
  }
});

test("every table decompiles with iasl and compiles again without error, warning or remark, and the AML comes out the same", {
  skip: spawnSync("iasl", ["-v"]).error !== undefined && "iasl (package acpica-tools) is not installed",
}, () => {
  const folder = mkdtempSync(join(tmpdir(), "thimble-acpi-"));
  try {
    for (const [cpus, memory] of [
      [1, 128 * MiB],
      [2, 2 * GiB],
      [4, 5 * GiB],
      [17, 64 * GiB],
      [64, 128 * MiB],
    ] as const) {
      const direct = config(cpus, memory, cpus === 1 ? 32 : 40);
      // As firmware lays a machine out: configuration space amid two windows.
      const windows = [0x8000_0000, 0xc000_0000].map((start) => ({ start, size: 0x3000_0000 }));
      const firmware = { ...direct, ecam: { start: 0xb000_0000, size: 256 * MiB }, pciWindows: windows };
      const tables = layoutAcpiTables(cpus === 4 ? firmware : direct);
      for (const table of tables) {
        const name = signatureOf(table);
        // The pointer structure is not a table that iasl takes.
        if (name === "RSD") continue;
        const at = (suffix: string) => join(folder, `${name}-${cpus}${suffix}`);
        writeFileSync(at(".aml"), table.bytes);
        const decompiled = execFileSync("iasl", ["-p", at("-source"), "-d", at(".aml")], {
          stdio: "pipe",
        }).toString();
        assert.doesNotMatch(decompiled, /warning|error|invalid/i);
        const source = readFileSync(at("-source.dsl"), "utf8");
        assert.doesNotMatch(source, /warning|error|invalid|unknown|unresolved/i, `${name}\n${source}`);
        const compiled = spawnSync("iasl", ["-p", at("-again"), at("-source.dsl")]);
        const said = `${compiled.stdout}${compiled.stderr}`;
        assert.equal(compiled.status, 0, said);
        if (name === "DSDT") {
          assert.match(said, /0 Errors, 0 Warnings, 0 Remarks/, said);
          const again = readFileSync(at("-again.aml"));
          assert.deepEqual(
            again.subarray(TableHeader.size),
            Buffer.from(table.bytes.subarray(TableHeader.size)),
          );
        } else {
          assert.match(said, /Compilation successful/, said);
          assert.doesNotMatch(said, /[1-9]\d* (error|warning)/i, said);
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
