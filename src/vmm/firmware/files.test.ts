import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, MiB } from "../../base/addresses.ts";
import { LOADER_FILE, RSDP_FILE, TABLES_FILE } from "../acpi/loader.ts";
import { checksum } from "../acpi/table.ts";
import { FileEntry, FwCfgKey, FwCfgOffset } from "../devices/fw-cfg/bits.ts";
import { FwCfg } from "../devices/fw-cfg/fw-cfg.ts";
import { GuestMemory, layoutRam, type MemoryRegion } from "../memory/guest-memory.ts";
import { FirmwareLayout, firmwareWindow64 } from "../platform.ts";
import { placeOf } from "../virtio-devices.ts";
import { addFirmwareFiles } from "./files.ts";
import { buildSmbios, placeSmbios } from "./smbios.ts";

/** All files as a guest reads them. */
function filesOf(memoryBytes: number, bootOrder: readonly string[], ecamStart: number | null) {
  const regions = layoutRam(memoryBytes, FirmwareLayout.pciHoleStart) as unknown as MemoryRegion[];
  const memory = new GuestMemory(regions, () => new ArrayBuffer(0));
  const fwCfg = new FwCfg(memory);
  addFirmwareFiles(fwCfg, {
    name: "web",
    cpus: 2,
    memory,
    pciWindow64: firmwareWindow64(memoryBytes, 40),
    ecamStart: () => ecamStart,
    bootOrder,
  });
  const read = (key: number, size: number) => {
    fwCfg.write(FwCfgOffset.selector, 2, key);
    return Buffer.from(Array.from({ length: size }, () => fwCfg.read(FwCfgOffset.data, 1)));
  };
  const count = read(FwCfgKey.fileDirectory, 4).readUInt32BE();
  const directory = read(FwCfgKey.fileDirectory, 4 + count * FileEntry.size);
  const files = new Map<string, Buffer>();
  for (let i = 0; i < count; i++) {
    const { name, select, size } = FileEntry.decode(directory, 4 + i * FileEntry.size);
    files.set(name, read(select, size));
  }
  return { read, files };
}

test("firmware is told RAM below 2 GiB and above 4 GiB, and how many CPUs there are", () => {
  const { read, files } = filesOf(5 * GiB, [], null);
  assert.equal(read(FwCfgKey.ramSize, 8).readBigUInt64LE(), BigInt(5 * GiB));
  assert.equal(read(FwCfgKey.cpuCount, 2).readUInt16LE(), 2);
  const map = files.get("etc/e820") as Buffer;
  const entries = Array.from({ length: map.length / 20 }, (_, i) => [
    Number(map.readBigUInt64LE(20 * i)),
    Number(map.readBigUInt64LE(20 * i + 8)),
    map.readUInt32LE(20 * i + 16),
  ]);
  assert.deepEqual(entries, [
    [0, 2 * GiB, 1],
    [4 * GiB, 3 * GiB, 1],
    [0xfeff_c000, 0x4000, 2],
  ]);
});

test("the boot order names devices by their slots", () => {
  assert.equal(filesOf(64 * MiB, [], null).files.has("bootorder"), false);
  const { files } = filesOf(64 * MiB, ["network1", "disk0", "cdrom1"], null);
  const [network, disk] = ["network1", "disk0"].map((device) => placeOf(device).place);
  assert.equal(
    files.get("bootorder")?.toString(),
    `/pci@i0cf8/ethernet@${network}/ethernet-phy@0\n/pci@i0cf8/scsi@${disk}/disk@0,0\n/pci@i0cf8/scsi@1,4/channel@0/disk@1,0\0`,
  );
});

test("ACPI tables follow where the guest has put configuration space, in files as large as was told", () => {
  for (const ecam of [null, 0x8000_0000, 0xb000_0000, 0xe000_0000, 0xf000_0000, 8 * GiB]) {
    const { files } = filesOf(64 * MiB, [], ecam);
    const tables = files.get(TABLES_FILE) as Buffer;
    assert.equal(tables.length % 4096, 0);
    assert.equal(files.get(RSDP_FILE)?.subarray(0, 8).toString(), "RSD PTR ");
    assert.equal((files.get(LOADER_FILE) as Buffer).length % 128, 0);
    const mcfg = tables.indexOf("MCFG");
    assert.equal(tables.readBigUInt64LE(mcfg + 44), BigInt(ecam ?? 0xe000_0000));
  }
});

test("SMBIOS says what the machine is, in structures that end", () => {
  const { anchor, tables } = buildSmbios("wéb");
  assert.equal(checksum(anchor), 0);
  const text = Buffer.from(tables).toString("latin1");
  assert.match(text, /Thimble\0Virtual Machine\0w\?b\0\0/);
  const types = [];
  for (let at = 0; at < tables.length; ) {
    types.push(tables[at]);
    at = text.indexOf("\0\0", at + (tables[at + 1] as number)) + 2;
  }
  assert.deepEqual(types, [1, 3, 127]);
});

test("a machine without firmware has SMBIOS where guests look for it", () => {
  const memory = GuestMemory.forTest(2 * MiB);
  placeSmbios(memory, "web");
  const anchor = Buffer.from(memory.read(0xf_0000, 24));
  assert.equal(anchor.toString("latin1", 0, 5), "_SM3_");
  assert.equal(checksum(anchor), 0);
  const tables = Buffer.from(memory.read(Number(anchor.readBigUInt64LE(16)), anchor.readUInt32LE(12)));
  assert.match(tables.toString("latin1"), /Thimble\0Virtual Machine\0web\0\0/);
});
