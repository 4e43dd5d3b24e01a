import assert from "node:assert/strict";
import { test } from "node:test";
import { guestPhysical, MiB } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { bootFileOf } from "./boot-file.ts";
import { Elf32Header, Elf32ProgramHeader, Elf64Header, Elf64ProgramHeader, ElfNoteHeader } from "./elf.ts";
import { loadKernel } from "./load.ts";
import { buildMemoryMap } from "./memory-map.ts";
import { Placement } from "./placement.ts";
import { MemoryMapTableEntry, ModuleEntry, START_INFO_MAGIC, StartInfo } from "./pvh.ts";

interface Shape {
  bits?: 32 | 64;
  entry?: number;
  machine?: number;
  noteBytes?: 4 | 8 | 2;
  noteName?: string;
  load?: { address: number; memoryBytes?: number }[];
}

/** An ELF kernel with a note segment and one 16-byte segment per address. */
function elf({
  bits = 64,
  entry = 2 * MiB + 4,
  machine = 62,
  noteBytes = 8,
  noteName = "Xen",
  load,
}: Shape = {}): Uint8Array {
  const loads = load ?? [{ address: 2 * MiB, memoryBytes: 4096 }, { address: 3 * MiB }];
  const Header = bits === 64 ? Elf64Header : Elf32Header;
  const ProgramHeader = bits === 64 ? Elf64ProgramHeader : Elf32ProgramHeader;
  const count = loads.length + 1;
  const dataAt = Header.size + count * ProgramHeader.size;
  const note = new Uint8Array(ElfNoteHeader.size + 4 + 8);
  ElfNoteHeader.patch(note, 0, { namesz: 4, descsz: noteBytes, type: 18 });
  note.set(Buffer.from(noteName), 12);
  new DataView(note.buffer).setUint32(16, entry, true);
  const noteSize = 16 + (noteBytes === 2 ? 4 : noteBytes);
  const file = new Uint8Array(dataAt + loads.length * 16 + note.length);
  Header.patch(file, 0, {
    magic: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46),
    class: bits === 64 ? 2 : 1,
    data: 1,
    version: 1,
    e_type: 2,
    e_machine: machine,
    e_phoff: Header.size,
    e_phentsize: ProgramHeader.size,
    e_phnum: count,
  });
  loads.forEach(({ address, memoryBytes = 16 }, i) => {
    const at = dataAt + i * 16;
    file.fill(0x40 + i, at, at + 16);
    ProgramHeader.patch(file, Header.size + i * ProgramHeader.size, {
      p_type: 1,
      p_offset: at,
      p_paddr: address,
      p_filesz: 16,
      p_memsz: memoryBytes,
    });
  });
  const noteAt = dataAt + loads.length * 16;
  file.set(note, noteAt);
  ProgramHeader.patch(file, Header.size + loads.length * ProgramHeader.size, {
    p_type: 4,
    p_offset: noteAt,
    p_filesz: noteSize,
    p_memsz: noteSize,
  });
  return file;
}

function boot(file: Uint8Array, memory = GuestMemory.forTest(16 * MiB), initrd?: Uint8Array) {
  const base = {
    memory,
    kernel: bootFileOf("vmlinux", file),
    commandLine: "quiet",
    rsdp: guestPhysical(0xe0000),
  };
  return loadKernel(initrd ? { ...base, initrd: bootFileOf("initrd", initrd) } : base);
}

for (const shape of [
  { bits: 64, noteBytes: 8 },
  { bits: 64, noteBytes: 4 },
  { bits: 32, noteBytes: 4, machine: 3 },
] as const) {
  test(`an ELF${shape.bits} kernel with a note of ${shape.noteBytes} bytes is entered in protected mode with its start info`, () => {
    const memory = GuestMemory.forTest(16 * MiB);
    const state = boot(elf(shape), memory, new Uint8Array(5000).fill(9));
    assert.deepEqual(
      [state.rip, state.rbx, state.cr0, state.cr4],
      [2 * MiB + 4, Placement.bootInfo, 0x11, 0],
    );
    assert.equal(memory.read(2 * MiB + 15, 1)[0], 0x40);
    assert.equal(memory.read(3 * MiB, 1)[0], 0x41);
    const info = StartInfo.decode(memory.read(Placement.bootInfo, StartInfo.size));
    assert.equal(info.magic, START_INFO_MAGIC);
    assert.equal(info.rsdp_paddr, 0xe0000);
    assert.equal(Buffer.from(memory.read(info.cmdline_paddr, 6)).toString(), "quiet\0");
    const module = ModuleEntry.decode(memory.read(info.modlist_paddr, ModuleEntry.size));
    assert.deepEqual([info.nr_modules, module.size, module.paddr % 4096], [1, 5000, 0]);
    assert.equal(memory.read(module.paddr + 4999, 1)[0], 9);
    const map = buildMemoryMap(16 * MiB);
    assert.equal(info.memmap_entries, map.length);
    const last = MemoryMapTableEntry.decode(
      memory.read(info.memmap_paddr + 3 * MemoryMapTableEntry.size, MemoryMapTableEntry.size),
    );
    assert.deepEqual(last, { addr: MiB, size: 15 * MiB, type: 1, reserved: 0 });
  });
}

test("without an initrd there is no module", () => {
  const memory = GuestMemory.forTest(16 * MiB);
  boot(elf(), memory);
  const info = StartInfo.decode(memory.read(Placement.bootInfo, StartInfo.size));
  assert.deepEqual([info.nr_modules, info.modlist_paddr], [0, 0]);
});

test("each malformed field is refused by name", () => {
  const patched = (offset: number, value: number) => {
    const file = elf();
    file[offset] = value;
    return file;
  };
  const cases: [Uint8Array, RegExp][] = [
    [patched(4, 3), /EI_CLASS/],
    [patched(5, 2), /EI_DATA/],
    [patched(Elf64Header.offset.e_type, 1), /e_type/],
    [elf({ machine: 183 }), /e_machine/],
    [patched(Elf64Header.offset.e_phentsize, 8), /e_phentsize/],
    [patched(Elf64Header.offset.e_phnum, 0), /e_phnum/],
    [patched(Elf64Header.offset.e_phoff + 4, 1), /e_phoff/],
    [elf({ noteName: "Lin" }), /PHYS32_ENTRY.*missing/],
    [elf({ noteBytes: 2 }), /PHYS32_ENTRY/],
    [elf({ entry: 0x1000 }), /entry point/],
    [elf({ load: [{ address: 0x8000 }] }), /below 1 MiB/],
    [
      elf({ load: [{ address: 2 * MiB, memoryBytes: 4096 }, { address: 2 * MiB + 100 }] }),
      /inside the segment/,
    ],
    [elf({ load: [{ address: 2 * MiB, memoryBytes: 2 ** 50 }] }), /p_memsz/],
    [elf({ load: [{ address: 2 * MiB, memoryBytes: 8 }] }), /p_filesz/],
    [elf().slice(0, 200), /program header|p_filesz/],
    [elf().slice(0, 40), /ELF header/],
  ];
  for (const [file, message] of cases) {
    assert.throws(
      () => boot(file),
      (e) => e instanceof ThimbleError && e.code === "bad_kernel" && message.test(e.message),
      String(message),
    );
  }
  assert.throws(() => boot(elf({ load: [{ address: 2 * MiB, memoryBytes: 64 * MiB }] })), {
    code: "memory_too_small",
  });
});

test("mutated files never throw anything but ThimbleError", () => {
  const random = new SeededRandom(testSeed());
  const memory = GuestMemory.forTest(16 * MiB);
  for (let i = 0; i < 4000; i++) {
    let file = elf({ bits: random.pick([32, 64] as const) });
    for (let n = random.below(4); n >= 0; n--) file[random.below(file.length)] = random.u32();
    if (random.below(4) === 0) file = file.slice(0, random.below(file.length + 1));
    try {
      boot(file, memory);
    } catch (e) {
      assert.ok(e instanceof ThimbleError, `seed ${random.seed}: ${e}`);
    }
  }
});
