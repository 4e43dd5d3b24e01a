/** Kernels that are not Linux's bzImage: few machines boot one. */
export { looksLikeElf } from "../boot/elf.ts";
export { findMultibootHeader, loadMultiboot } from "../boot/multiboot.ts";
export { loadPvh } from "../boot/pvh.ts";
