/**
 * Page tables for a kernel that is entered in 64-bit mode: the first 4 GiB mapped to themselves by 2 MiB pages, which
 * every x86-64 CPU has. Kernels replace them within their first instructions.
 */
import { GiB, MiB } from "../../base/addresses.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { PAGE_SIZE, Placement } from "./placement.ts";

const PRESENT_WRITABLE = 0x03;
const LARGE_PAGE = 0x80;
const ENTRIES = 512;
const MAPPED_GIB = 4;

/** Writes them and returns the address of the level 4 table, for CR3. */
export function writeIdentityMap(memory: GuestMemory): number {
  const level4 = Placement.pageTables;
  const level3 = level4 + PAGE_SIZE;
  const level2 = level3 + PAGE_SIZE;
  const tables = new Uint8Array((2 + MAPPED_GIB) * PAGE_SIZE);
  const view = new DataView(tables.buffer);
  // All tables and pages are below 4 GiB, so the upper half of each entry is zero.
  const put = (at: number, index: number, value: number) =>
    view.setUint32(at - level4 + index * 8, value, true);
  put(level4, 0, level3 | PRESENT_WRITABLE);
  for (let i = 0; i < MAPPED_GIB; i++) {
    put(level3, i, (level2 + i * PAGE_SIZE) | PRESENT_WRITABLE);
    for (let j = 0; j < ENTRIES; j++)
      put(level2 + i * PAGE_SIZE, j, i * GiB + j * 2 * MiB + LARGE_PAGE + PRESENT_WRITABLE);
  }
  memory.write(level4, tables);
  return level4;
}
