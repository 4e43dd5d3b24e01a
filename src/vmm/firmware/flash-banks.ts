/**
 * The flash of a machine with guest firmware: code that ends at 4 GiB, where the processor starts, and directly below
 * it the variables. Both are read through read-only memory slots; writes to the code reach nobody.
 */
import { guestPhysical } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import { close, O_RDONLY, open, statFd } from "../../sys/fs.ts";
import { createMemoryFile, type Mapping, mapReadOnly, mapShared } from "../../sys/memory.ts";
import { NvramFile } from "../backends/nvram-file.ts";
import { forField } from "../boot-files.ts";
import type { MmioBus } from "../bus/mmio.ts";
import type { FirmwareBoot } from "../config.ts";
import { BLOCK_BYTES } from "../devices/flash/bits.ts";
import { NorFlash } from "../devices/flash/flash.ts";
import type { KvmVm } from "../kvm/kvm.ts";
import { KvmMemorySlot } from "../kvm/memory-slot.ts";
import { HIGH_MEMORY_START } from "../memory/guest-memory.ts";
import { Mmio } from "../platform.ts";

export interface FlashBanksOptions {
  readonly boot: FirmwareBoot;
  readonly vm: KvmVm;
  readonly mmio: MmioBus;
  readonly onError: (error: unknown) => void;
}

export interface FlashBanks {
  readonly variables: NorFlash;
  /** Brings all to stable storage and closes the file. */
  close(): void;
}

/** Throws ThimbleError("bad_config") naming the field whose file cannot be used. */
export function attachFlash({ boot, vm, mmio, onError }: FlashBanksOptions): FlashBanks {
  const code = forField("boot.firmware", () => mapCode(boot.firmware));
  const codeStart = HIGH_MEMORY_START - code.sizeBytes;
  show(new KvmMemorySlot(vm, readOnly(code)), codeStart);

  return forField("boot.nvram", () => {
    const file = new NvramFile(boot.nvram, onError);
    const { sizeBytes } = file;
    checkSize(sizeBytes, Mmio.flash.size - code.sizeBytes);
    const start = codeStart - sizeBytes;
    const fd = createMemoryFile("guest-flash", sizeBytes);
    const memory = mapShared(fd, 0, sizeBytes);
    close(fd);
    const content = new Uint8Array(memory.view());
    file.readInto(content);
    const slot = new KvmMemorySlot(vm, readOnly(memory));
    const variables = new NorFlash({
      content,
      store: file,
      onArray: (shown) => show(slot, shown ? start : null),
    });
    show(slot, start);
    mmio.register("flash", start, sizeBytes, variables);
    return {
      variables,
      close: () => {
        variables.flush();
        file.close();
      },
    };
  });
}

function readOnly({ address, sizeBytes }: Mapping) {
  return { host: address, sizeBytes, readOnly: true };
}

function show(slot: KvmMemorySlot, start: number | null): void {
  if (slot.place(start === null ? null : guestPhysical(start))) return;
  throw new ThimbleError("no_memory_slot", "KVM does not take the flash as memory");
}

function mapCode(path: string): Mapping {
  const fd = open(path, O_RDONLY);
  try {
    const { sizeBytes } = statFd(fd, path);
    // Room for the variables stays.
    checkSize(sizeBytes, Mmio.flash.size - BLOCK_BYTES);
    return mapReadOnly(fd, sizeBytes);
  } finally {
    close(fd);
  }
}

function checkSize(sizeBytes: number, maxBytes: number): void {
  if (sizeBytes > 0 && sizeBytes <= maxBytes && sizeBytes % BLOCK_BYTES === 0) return;
  throw new ThimbleError(
    "bad_flash",
    `the file has ${sizeBytes} bytes; flash takes a multiple of ${BLOCK_BYTES} up to ${maxBytes}`,
  );
}
