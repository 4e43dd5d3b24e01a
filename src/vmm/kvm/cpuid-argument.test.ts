import assert from "node:assert/strict";
import { test } from "node:test";
import { CpuidEntry2, CpuidHeader } from "./bits.ts";
import { cpuidArgument, newCpuidArgument, readCpuidArgument } from "./cpuid-argument.ts";

const ENTRIES = [
  { function: 0x8000_0001, index: 0, flags: 0, eax: 0xffff_ffff, ebx: 1, ecx: 2, edx: 3 },
  { function: 7, index: 1, flags: 1, eax: 4, ebx: 0x8000_0000, ecx: 6, edx: 7 },
];

test("the argument has the kernel's layout", () => {
  const words = cpuidArgument(ENTRIES);
  const bytes = new Uint8Array(words.buffer);
  assert.equal(bytes.length, CpuidHeader.size + 2 * CpuidEntry2.size);
  assert.equal(CpuidHeader.decode(bytes).nent, 2);
  ENTRIES.forEach((entry, i) => {
    const { padding, ...rest } = CpuidEntry2.decode(bytes, CpuidHeader.size + i * CpuidEntry2.size);
    assert.deepEqual(rest, entry);
    assert.deepEqual(padding, [0, 0, 0]);
  });
  assert.deepEqual(readCpuidArgument(words), ENTRIES);
});

test("only as many entries are read as the kernel says", () => {
  const words = newCpuidArgument(100);
  assert.equal(words[0], 100);
  words.set(cpuidArgument(ENTRIES).subarray(0, 12));
  words[0] = 1;
  assert.deepEqual(readCpuidArgument(words), [ENTRIES[0]]);
});
