import assert from "node:assert/strict";
import { test } from "node:test";
import { array, ascii, be16, bytes, packed, struct, u8, u16, u32, u64, u64big } from "./layout.ts";

const Sample = struct("sample", "this test", { tag: u8, length: u32, flags: u16, address: u64 });
const Wire = packed("wire", "this test", { tag: u8, port: be16, name: ascii(4), raw: bytes(2) });

test("struct aligns like the C ABI", () => {
  assert.deepEqual({ ...Sample.offset }, { tag: 0, length: 4, flags: 8, address: 16 });
  assert.equal(Sample.size, 24);
});

test("packed has no padding and encodes network order", () => {
  assert.equal(Wire.size, 9);
  const out = Wire.encode({ tag: 1, port: 0x1234, name: "ab", raw: Uint8Array.of(9) });
  assert.deepEqual([...out], [1, 0x12, 0x34, 0x61, 0x62, 0, 0, 9, 0]);
});

test("decode returns what encode wrote, also above 4 GiB and with all 64 bits", () => {
  const value = { tag: 255, length: 0xffffffff, flags: 0xffff, address: 2 ** 52 + 5 };
  assert.deepEqual(Sample.decode(Sample.encode(value)), value);
  const Big = struct("big", "this test", { msr: u64big });
  assert.equal(Big.decode(Big.encode({ msr: 2n ** 64n - 1n })).msr, 2n ** 64n - 1n);
});

test("structures nest and repeat", () => {
  const Table = struct("table", "this test", { count: u16, rows: array(Sample, 2) });
  assert.equal(Table.offset.rows, 8);
  assert.equal(Table.size, 56);
  const decoded = Table.decode(Table.encode({ rows: [Sample.zero, { ...Sample.zero, flags: 3 }] }));
  assert.equal(decoded.rows[1]?.flags, 3);
});

test("decode refuses bytes that end too early", () => {
  assert.throws(() => Sample.decode(new Uint8Array(23)), RangeError);
  assert.throws(() => Sample.decode(new Uint8Array(24), 1), RangeError);
});

test("patch leaves other fields alone", () => {
  const out = Sample.encode({ tag: 7, length: 9 });
  Sample.patch(out, 0, { flags: 2 });
  assert.deepEqual(Sample.decode(out), { tag: 7, length: 9, flags: 2, address: 0 });
});
