/**
 * A kernel that firmware is to start, as `qemu -kernel` gives it to OVMF: the file in two parts, its initrd and its
 * command line. All of it is read from the files when the guest asks, straight into the guest's memory.
 */
import { ThimbleError } from "../../base/errors.ts";
import { packed, u32 } from "../../base/layout.ts";
import { type BootFile, readBytes } from "../boot/boot-file.ts";
import { HEADER_MAGIC, SETUP_HEADER_OFFSET, SetupHeader } from "../boot/boot-params.ts";
import { FwCfgKey } from "../devices/fw-cfg/bits.ts";
import type { FwCfg, FwCfgSource } from "../devices/fw-cfg/fw-cfg.ts";

const SECTOR_BYTES = 512;
/** Sectors of set-up code where the header says 0 (boot protocol, `setup_sects`). */
const SETUP_SECTORS_DEFAULT = 4;
const U32 = packed("32 bits", "QEMU fw_cfg", { value: u32 });

export interface FirmwareKernel {
  readonly kernel: BootFile;
  readonly initrd: BootFile | null;
  readonly commandLine: string;
}

/**
 * Adds the items. Firmware puts the parts of the kernel together again and starts it as an EFI program, so the file
 * reaches it unchanged (Secure Boot checks it). Throws ThimbleError("bad_kernel") for a file too large to be told.
 */
export function addKernelItems(fwCfg: FwCfg, { kernel, initrd, commandLine }: FirmwareKernel): void {
  const setupBytes = setupSize(kernel);
  addPart(fwCfg, FwCfgKey.setupSize, FwCfgKey.setupData, partOf(kernel, 0, setupBytes));
  addPart(fwCfg, FwCfgKey.kernelSize, FwCfgKey.kernelData, partOf(kernel, setupBytes, kernel.sizeBytes));
  if (initrd !== null) {
    addPart(fwCfg, FwCfgKey.initrdSize, FwCfgKey.initrdData, partOf(initrd, 0, initrd.sizeBytes));
  }
  // The size counts the zero at the end.
  const line = Uint8Array.from(`${commandLine}\0`, (c) => c.charCodeAt(0));
  fwCfg.add(FwCfgKey.commandLineSize, U32.encode({ value: line.length }));
  fwCfg.add(FwCfgKey.commandLineData, line);
}

function addPart(fwCfg: FwCfg, sizeKey: number, dataKey: number, part: FwCfgSource): void {
  fwCfg.add(sizeKey, U32.encode({ value: part.sizeBytes }));
  fwCfg.add(dataKey, part);
}

function partOf(file: BootFile, start: number, end: number): FwCfgSource {
  if (end >= 2 ** 32) throw new ThimbleError("bad_kernel", `${file.name} has 4 GiB or more`);
  return { sizeBytes: end - start, read: (offset, target) => file.read(start + offset, target) };
}

/** How much of a bzImage is set-up code; nothing of another program. */
function setupSize(kernel: BootFile): number {
  if (kernel.sizeBytes < SETUP_HEADER_OFFSET + SetupHeader.size) return 0;
  const header = SetupHeader.decode(readBytes(kernel, SETUP_HEADER_OFFSET, SetupHeader.size, "the header"));
  if (header.header !== HEADER_MAGIC) return 0;
  return Math.min(((header.setup_sects || SETUP_SECTORS_DEFAULT) + 1) * SECTOR_BYTES, kernel.sizeBytes);
}
