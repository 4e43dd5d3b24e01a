import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, MiB } from "../../base/addresses.ts";
import { FadtBody } from "./fadt.ts";
import {
  AddChecksumCommand,
  AddPointerCommand,
  AllocateCommand,
  buildLoaderFiles,
  RSDP_FILE,
  TABLES_FILE,
} from "./loader.ts";
import { Rsdp } from "./rsdp.ts";
import { checksum, TableHeader } from "./table.ts";
import { directBootConfig, layoutAcpiTables } from "./tables.ts";

/** What guest firmware does with the commands. */
function load(files: ReturnType<typeof buildLoaderFiles>, places: Record<string, number>) {
  const memory: Record<string, Uint8Array> = {
    [TABLES_FILE]: files.tables.slice(),
    [RSDP_FILE]: files.rsdp.slice(),
  };
  const allocated: string[] = [];
  for (let at = 0; at < files.loader.length; at += 128) {
    const command = files.loader.subarray(at, at + 128);
    const kind = command[0];
    if (kind === 1) {
      const { file, align } = AllocateCommand.decode(command);
      assert.equal((places[file] as number) % align, 0);
      allocated.push(file);
    } else if (kind === 2) {
      const { file, pointedTo, offset, size } = AddPointerCommand.decode(command);
      assert.ok(allocated.includes(file) && allocated.includes(pointedTo));
      const bytes = memory[file] as Uint8Array;
      let value = 0;
      for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[offset + i] as number);
      assert.ok(value < (memory[pointedTo] as Uint8Array).length, "a pointer into the file");
      value += places[pointedTo] as number;
      for (let i = 0; i < size; i++) bytes[offset + i] = Math.floor(value / 256 ** i);
    } else {
      assert.equal(kind, 3);
      const { file, offset, start, length } = AddChecksumCommand.decode(command);
      const bytes = memory[file] as Uint8Array;
      bytes[offset] = checksum(bytes.subarray(start, start + length));
    }
  }
  return memory;
}

test("firmware that follows the commands gets the tables that direct boot has", () => {
  for (const cpus of [1, 2, 64]) {
    const config = directBootConfig(cpus, { start: 8 * GiB, size: 64 * GiB });
    const start = 0x7fb0_0000;
    const memory = load(buildLoaderFiles(config), { [TABLES_FILE]: start, [RSDP_FILE]: 0xf_5a00 });
    const [rsdp, ...tables] = layoutAcpiTables(config, { start, size: MiB });
    assert.deepEqual(memory[RSDP_FILE], rsdp?.bytes);
    for (const { address, bytes } of tables) {
      const loaded = memory[TABLES_FILE]?.subarray(address - start, address - start + bytes.length);
      assert.deepEqual(loaded, bytes);
    }
    const { xsdt_address } = Rsdp.decode(memory[RSDP_FILE] as Uint8Array);
    const xsdt = memory[TABLES_FILE]?.subarray(xsdt_address - start) as Uint8Array;
    const fadtAt = new DataView(xsdt.buffer, xsdt.byteOffset + TableHeader.size).getUint32(0, true);
    const fadt = FadtBody.decode(memory[TABLES_FILE] as Uint8Array, fadtAt - start + TableHeader.size);
    assert.ok(fadt.dsdt > start && fadt.dsdt === fadt.x_dsdt && fadt.firmware_ctrl % 64 === 0);
  }
});
