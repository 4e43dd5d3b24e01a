/**
 * The argument of KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2: a header and some fifty entries of words. Read and
 * written word by word, because every start of a machine does it.
 */
import type { CpuidEntry } from "../cpu/cpuid.ts";
import { CpuidEntry2, CpuidHeader } from "./bits.ts";

const HEADER_WORDS = CpuidHeader.size / 4;
const ENTRY_WORDS = CpuidEntry2.size / 4;
const COUNT = CpuidHeader.offset.nent / 4;
const { offset } = CpuidEntry2;
const LEAF = offset.function / 4;
const INDEX = offset.index / 4;
const FLAGS = offset.flags / 4;
const EAX = offset.eax / 4;
const EBX = offset.ebx / 4;
const ECX = offset.ecx / 4;
const EDX = offset.edx / 4;

/** Room for `count` entries, as the header says. */
export function newCpuidArgument(count: number): Uint32Array {
  const words = new Uint32Array(HEADER_WORDS + count * ENTRY_WORDS);
  words[COUNT] = count;
  return words;
}

/** The entries that the kernel has put into `words`. */
export function readCpuidArgument(words: Uint32Array): CpuidEntry[] {
  const entries: CpuidEntry[] = [];
  const end = HEADER_WORDS + (words[COUNT] as number) * ENTRY_WORDS;
  for (let at = HEADER_WORDS; at < end; at += ENTRY_WORDS) {
    entries.push({
      function: words[at + LEAF] as number,
      index: words[at + INDEX] as number,
      flags: words[at + FLAGS] as number,
      eax: words[at + EAX] as number,
      ebx: words[at + EBX] as number,
      ecx: words[at + ECX] as number,
      edx: words[at + EDX] as number,
    });
  }
  return entries;
}

export function cpuidArgument(entries: readonly CpuidEntry[]): Uint32Array {
  const words = newCpuidArgument(entries.length);
  let at = HEADER_WORDS;
  for (const entry of entries) {
    words[at + LEAF] = entry.function;
    words[at + INDEX] = entry.index;
    words[at + FLAGS] = entry.flags;
    words[at + EAX] = entry.eax;
    words[at + EBX] = entry.ebx;
    words[at + ECX] = entry.ecx;
    words[at + EDX] = entry.edx;
    at += ENTRY_WORDS;
  }
  return words;
}
