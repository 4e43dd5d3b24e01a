import assert from "node:assert/strict";
import { test } from "node:test";
import { guestPhysical, KiB, MiB } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { LowMemory } from "../platform.ts";
import { bootFileOf } from "./boot-file.ts";
import { Elf32Header, Elf32ProgramHeader, Elf64Header, Elf64ProgramHeader } from "./elf.ts";
import { loadKernel } from "./load.ts";
import { buildMemoryMap } from "./memory-map.ts";
import {
  findMultibootHeader,
  HeaderFlag,
  InfoFlag,
  MULTIBOOT_ENTRY_MAGIC,
  MULTIBOOT_HEADER_MAGIC,
  MultibootHeader,
  MultibootInfo,
  MultibootMemory,
  MultibootModule,
} from "./multiboot.ts";

type Addresses = Partial<ReturnType<typeof MultibootHeader.decode>>;

function header(flags: number, addresses: Addresses = {}): Uint8Array<ArrayBuffer> {
  const checksum = -(MULTIBOOT_HEADER_MAGIC + flags);
  return MultibootHeader.encode({ magic: MULTIBOOT_HEADER_MAGIC, flags, checksum, ...addresses });
}

interface Shape {
  bits?: 32 | 64;
  flags?: number;
  entry?: number;
  /** Physical address; virtual ones are `virtualOffset` above. */
  load?: { address: number; memoryBytes?: number }[];
  virtualOffset?: number;
  addresses?: Addresses;
}

/** An ELF file with a multiboot header behind the program headers and one segment of 16 bytes per address. */
function elf({ bits = 32, flags = 3, entry, load, virtualOffset = 0, addresses }: Shape = {}): Uint8Array {
  const loads = load ?? [{ address: MiB, memoryBytes: 8 * KiB }, { address: 2 * MiB }];
  const Header = bits === 64 ? Elf64Header : Elf32Header;
  const ProgramHeader = bits === 64 ? Elf64ProgramHeader : Elf32ProgramHeader;
  const headerAt = Math.ceil((Header.size + loads.length * ProgramHeader.size) / 4) * 4;
  const dataAt = headerAt + MultibootHeader.size;
  const file = new Uint8Array(dataAt + loads.length * 16);
  Header.patch(file, 0, {
    magic: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46),
    class: bits === 64 ? 2 : 1,
    data: 1,
    version: 1,
    e_type: 2,
    e_machine: bits === 64 ? 62 : 3,
    e_entry: entry ?? (loads[0]?.address ?? 0) + virtualOffset + 4,
    e_phoff: Header.size,
    e_phentsize: ProgramHeader.size,
    e_phnum: loads.length,
  });
  file.set(header(flags, addresses), headerAt);
  loads.forEach(({ address, memoryBytes = 16 }, i) => {
    const at = dataAt + i * 16;
    file.fill(0x40 + i, at, at + 16);
    ProgramHeader.patch(file, Header.size + i * ProgramHeader.size, {
      p_type: 1,
      p_offset: at,
      p_vaddr: address + virtualOffset,
      p_paddr: address,
      p_filesz: 16,
      p_memsz: memoryBytes,
    });
  });
  return file;
}

/** Not ELF: 64 bytes of 0x55, then the header, then 0x66 up to 4 KiB. Loaded from `skip` bytes on. */
function flat(addresses: Addresses = {}): Uint8Array {
  const file = new Uint8Array(4096).fill(0x66);
  file.fill(0x55, 0, 64);
  const base: Addresses = { header_addr: MiB + 32, load_addr: MiB, entry_addr: MiB + 100 };
  file.set(header(HeaderFlag.AddressOverride, { ...base, ...addresses }), 64);
  return file;
}

function boot(
  file: Uint8Array,
  { memory = GuestMemory.forTest(16 * MiB), initrd, commandLine = "all -v" }: BootOptions = {},
) {
  const base = {
    memory,
    kernel: bootFileOf("/images/t.elf", file),
    commandLine,
    rsdp: guestPhysical(0xe0000),
  };
  return loadKernel(initrd ? { ...base, initrd: bootFileOf("/images/env file", initrd) } : base);
}

interface BootOptions {
  memory?: GuestMemory;
  initrd?: Uint8Array;
  commandLine?: string;
}

function text(memory: GuestMemory, at: number): string {
  const bytes = Buffer.from(memory.read(at, 200));
  return bytes.subarray(0, bytes.indexOf(0)).toString();
}

for (const bits of [32, 64] as const) {
  test(`an ELF${bits} kernel is entered in protected mode with magic number and boot information`, () => {
    const memory = GuestMemory.forTest(16 * MiB);
    const state = boot(elf({ bits }), { memory, initrd: new Uint8Array(5000).fill(9) });
    assert.deepEqual(
      [state.rip, state.rax, state.cr0, state.cr4, state.rflags],
      [MiB + 4, MULTIBOOT_ENTRY_MAGIC, 0x11, 0, 2],
    );
    assert.deepEqual([memory.read(MiB + 15, 1)[0], memory.read(2 * MiB, 1)[0]], [0x40, 0x41]);

    const info = MultibootInfo.decode(memory.read(state.rbx, MultibootInfo.size));
    const { Memory, CommandLine, Modules, MemoryMap, LoaderName } = InfoFlag;
    assert.equal(info.flags, Memory | CommandLine | Modules | MemoryMap | LoaderName);
    assert.deepEqual([info.mem_lower, info.mem_upper], [639, 15 * 1024]);
    assert.equal(text(memory, info.cmdline), "t.elf all -v");
    assert.equal(text(memory, info.boot_loader_name), "Thimble");
    const module = MultibootModule.decode(memory.read(info.mods_addr, MultibootModule.size));
    assert.deepEqual(
      [info.mods_count, module.mod_start % 4096, module.mod_end - module.mod_start],
      [1, 0, 5000],
    );
    assert.deepEqual([...memory.read(module.mod_end - 1, 2)], [9, 0]);
    assert.equal(text(memory, module.string), "env_file");

    const entries = [];
    for (let at = info.mmap_addr; at < info.mmap_addr + info.mmap_length; ) {
      const entry = MultibootMemory.decode(memory.read(at, MultibootMemory.size));
      entries.push({ start: entry.addr, size: entry.len, type: entry.type });
      at += entry.size + 4;
    }
    assert.deepEqual(entries, buildMemoryMap(16 * MiB));
  });
}

test("an empty command line is the kernel's name alone, and without an initrd there is no module", () => {
  const memory = GuestMemory.forTest(16 * MiB);
  const state = boot(elf(), { memory, commandLine: "" });
  const info = MultibootInfo.decode(memory.read(state.rbx, MultibootInfo.size));
  assert.equal(text(memory, info.cmdline), "t.elf");
  assert.deepEqual([info.flags & InfoFlag.Modules, info.mods_count, info.mods_addr], [0, 0, 0]);
});

test("a virtual entry point is entered at its physical address", () => {
  assert.equal(boot(elf({ virtualOffset: 0xc000_0000 })).rip, MiB + 4);
});

test("what is handed over lies in conventional memory, below a kernel that is there, or above one that fills it", () => {
  const low = LowMemory.ebda.start;
  assert.ok(boot(elf()).rbx < low && boot(elf()).rbx > low - 1024);
  const below = boot(elf({ load: [{ address: 0x4000, memoryBytes: low - 0x4000 }] })).rbx;
  assert.ok(below < 0x4000 && below >= 0x1000);
  const filled = boot(elf({ load: [{ address: 0x1000, memoryBytes: low - 0x1000 }] })).rbx;
  assert.ok(filled >= low);
});

test("the address override says where a file of any format goes", () => {
  const memory = GuestMemory.forTest(16 * MiB);
  // header_addr - load_addr is 32, so the kernel starts 32 bytes before the header: at 32 in the file.
  const state = boot(flat(), { memory });
  assert.equal(state.rip, MiB + 100);
  assert.deepEqual([...memory.read(MiB + 31, 2)], [0x55, 0x02]);
  assert.deepEqual([...memory.read(MiB + 4096 - 33, 2)], [0x66, 0]);

  const partly = GuestMemory.forTest(16 * MiB);
  boot(flat({ load_end_addr: MiB + 1000, bss_end_addr: MiB + 8192 }), { memory: partly });
  assert.deepEqual([...partly.read(MiB + 999, 2)], [0x66, 0]);
});

test("the override goes before the ELF header", () => {
  const addresses = { header_addr: 3 * MiB + 116, load_addr: 3 * MiB, entry_addr: 3 * MiB + 200 };
  const file = elf({ flags: 3 | HeaderFlag.AddressOverride, addresses });
  assert.equal(findMultibootHeader(file)?.offset, 116);
  const memory = GuestMemory.forTest(16 * MiB);
  assert.equal(boot(new Uint8Array([...file, ...new Uint8Array(200)]), { memory }).rip, 3 * MiB + 200);
  assert.equal(memory.read(3 * MiB, 1)[0], 0x7f);
});

test("a header is found only when aligned, whole within 8 KiB, and with a right checksum", () => {
  const file = new Uint8Array(9000);
  const at = (offset: number, change = 0) => {
    file.fill(0);
    file.set(header(0), offset);
    file[offset + 8] = (file[offset + 8] as number) + change;
    return findMultibootHeader(file)?.offset;
  };
  assert.deepEqual([at(0), at(8180)], [0, 8180]);
  assert.deepEqual([at(2), at(8184), at(8192), at(0, 1)], [undefined, undefined, undefined, undefined]);
  assert.equal(findMultibootHeader(new Uint8Array(0)), null);
});

test("each malformed field is refused by name", () => {
  const cases: [Uint8Array, RegExp][] = [
    [elf({ flags: HeaderFlag.VideoMode }), /video mode/],
    [elf({ flags: 0x100 }), /asks for 0x100/],
    [elf({ entry: 0x1000 }), /entry point/],
    [elf({ load: [{ address: 0x800 }] }), /firmware/],
    [elf({ load: [{ address: 0x9_0000, memoryBytes: 0x2_0000 }] }), /firmware/],
    [elf({ load: [{ address: MiB, memoryBytes: 4096 }, { address: MiB + 100 }] }), /inside the segment/],
    [elf({ load: [{ address: 0xffff_f000, memoryBytes: 0x2000 }] }), /4 GiB/],
    [elf({ load: [{ address: MiB, memoryBytes: 8 }] }), /p_filesz/],
    [elf({ load: [] }), /e_phnum/],
    [flat({ load_addr: 2 * MiB }), /load_addr/],
    [flat({ header_addr: MiB + 65 }), /header_addr/],
    [flat({ load_end_addr: MiB }), /load_end_addr/],
    [flat({ load_end_addr: 2 * MiB }), /beyond the end of the file/],
    [flat({ load_end_addr: MiB + 1000, bss_end_addr: MiB + 999 }), /bss_end_addr/],
    [flat({ entry_addr: 4 * MiB }), /entry point/],
    [flat().subarray(0, 80), /addresses/],
    [new Uint8Array([...header(0), ...new Uint8Array(100)]), /not ELF/],
  ];
  for (const [file, message] of cases) {
    assert.throws(
      () => boot(file),
      (e) => e instanceof ThimbleError && e.code === "bad_kernel" && message.test(e.message),
      String(message),
    );
  }
  assert.throws(() => boot(elf({ load: [{ address: MiB, memoryBytes: 64 * MiB }] })), {
    code: "memory_too_small",
  });
  assert.throws(() => boot(elf(), { commandLine: "ü" }), { code: "bad_command_line" });
});

test("mutated files throw nothing but ThimbleError, and what they load leaves firmware's memory alone", () => {
  const random = new SeededRandom(testSeed());
  const memory = GuestMemory.forTest(16 * MiB);
  const guarded = memory.bytes[0] as Uint8Array;
  const initrd = new Uint8Array(3000);
  let loaded = 0;
  for (let i = 0; i < 2000; i++) {
    let file = random.below(2) === 0 ? elf({ bits: random.pick([32, 64] as const) }) : flat();
    for (let n = random.below(4); n > 0; n--) file[random.below(file.length)] = random.u32();
    const at = findMultibootHeader(file)?.offset;
    if (at !== undefined && random.below(2) === 0) {
      // Valid headers with addresses and flags of all sizes: random bytes would only break the checksum.
      const any = () => (random.below(3) === 0 ? random.u32() : random.below(20 * MiB));
      const flags = random.pick([0, 3, HeaderFlag.AddressOverride, random.u32()]);
      const [header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr] = [
        any(),
        any(),
        any(),
        any(),
        any(),
      ];
      const near = random.below(2) === 0 ? { load_addr: header_addr - random.below(128) } : {};
      file.set(
        header(flags, { header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr, ...near }).subarray(
          0,
          file.length - at,
        ),
        at,
      );
    }
    if (random.below(4) === 0) file = file.slice(0, random.below(file.length + 1));
    guarded.fill(0xaa, 0x500, 0x600);
    guarded.fill(0xaa, LowMemory.bios.start, MiB);
    try {
      const state = boot(file, random.below(2) === 0 ? { memory, initrd } : { memory });
      loaded++;
      assert.ok(memory.contains(state.rip, 1), `seed ${random.seed}: entry ${state.rip}`);
    } catch (e) {
      assert.ok(e instanceof ThimbleError && e.code !== "not_ram", `seed ${random.seed}: ${e}`);
    }
    const untouched =
      guarded.subarray(0x500, 0x600).every((b) => b === 0xaa) &&
      guarded.subarray(LowMemory.bios.start, MiB).every((b) => b === 0xaa);
    assert.ok(untouched, `seed ${random.seed}: round ${i} wrote to firmware's memory`);
  }
  assert.ok(loaded > 100, `only ${loaded} files were loaded`);
});
