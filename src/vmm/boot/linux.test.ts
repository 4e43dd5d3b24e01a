import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, guestPhysical, KiB, MiB } from "../../base/addresses.ts";
import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { type BootFile, bootFileOf } from "./boot-file.ts";
import { BootParams, SETUP_HEADER_OFFSET, SetupHeader } from "./boot-params.ts";
import { parseSetupHeader } from "./linux.ts";
import { loadKernel } from "./load.ts";
import { buildMemoryMap, MemoryType } from "./memory-map.ts";
import { Placement } from "./placement.ts";
import { REAL_HEADER_OFFSET, REAL_HEADERS } from "./real-headers.fixture.ts";
import { ScreenInfo } from "./screen-info.ts";

const RSDP = guestPhysical(0xe0000);

/** A kernel with a real header whose other bytes tell where in the file they are. */
function realKernel(name: keyof typeof REAL_HEADERS): BootFile {
  const { sizeBytes, header } = REAL_HEADERS[name];
  const headerBytes = Uint8Array.from(header.match(/../g) ?? [], (h) => Number.parseInt(h, 16));
  return {
    name,
    sizeBytes,
    read(offset, target) {
      assert.ok(offset >= 0 && offset + target.length <= sizeBytes, "reads stay inside the file");
      for (let i = 0; i < target.length; i++) {
        const at = offset + i - REAL_HEADER_OFFSET;
        target[i] = at >= 0 && at < headerBytes.length ? (headerBytes[at] as number) : (offset + i) % 251;
      }
    },
  };
}

/** A small kernel that loads at 1 MiB and needs 64 KiB; its header can be changed. */
function smallKernel(change: Partial<ReturnType<typeof SetupHeader.decode>> = {}): Uint8Array {
  const file = new Uint8Array(3 * 512 + 4096).fill(0x90);
  file.fill(0, 0, 3 * 512);
  SetupHeader.patch(file, SETUP_HEADER_OFFSET, {
    setup_sects: 2,
    syssize: 256,
    boot_flag: 0xaa55,
    jump_opcode: 0xeb,
    jump_length: 0x6a,
    header: 0x53726448,
    version: 0x020f,
    loadflags: 1,
    initrd_addr_max: 0x7fffffff,
    kernel_alignment: 0x200000,
    relocatable_kernel: 0,
    xloadflags: 1,
    cmdline_size: 255,
    pref_address: MiB,
    init_size: 64 * KiB,
    ...change,
  });
  return file;
}

function boot(kernel: BootFile, memory: GuestMemory, initrd?: BootFile, commandLine = "console=ttyS0") {
  return loadKernel(
    initrd
      ? { memory, kernel, initrd, commandLine, rsdp: RSDP }
      : { memory, kernel, commandLine, rsdp: RSDP },
  );
}

test("the zero page has the size and the offsets of zero-page.rst", () => {
  assert.equal(BootParams.size, 4096);
  const { offset } = BootParams;
  assert.equal(offset.apm_bios_info, 0x40);
  assert.deepEqual([ScreenInfo.offset.lfb_base, ScreenInfo.offset.rsvd_pos], [0x18, 0x2d]);
  assert.deepEqual(
    [offset.acpi_rsdp_addr, offset.ext_ramdisk_image, offset.alt_mem_k, offset.e820_entries, offset.sentinel],
    [0x70, 0xc0, 0x1e0, 0x1e8, 0x1ef],
  );
  assert.deepEqual([offset.hdr, offset.e820_table, offset.eddbuf], [0x1f1, 0x2d0, 0xd00]);
  assert.equal(SETUP_HEADER_OFFSET + SetupHeader.offset.init_size, 0x260);
});

test("a picture on the screen is told in the zero page; none, nothing", () => {
  const memory = GuestMemory.forTest(128 * MiB);
  const kernel = realKernel("debian13");
  const pageOf = () => BootParams.decode(memory.read(Placement.bootInfo, 4096)).screen_info;
  boot(kernel, memory);
  assert.deepEqual(pageOf(), ScreenInfo.zero);
  const screen = { address: 0xc100_0000, sizeBytes: 16 * MiB, width: 1280, height: 800 };
  loadKernel({ memory, kernel, commandLine: "", rsdp: RSDP, screen });
  const { orig_video_isVGA, lfb_base, lfb_size, lfb_linelength, lfb_depth } = pageOf();
  assert.deepEqual(
    [orig_video_isVGA, lfb_base, lfb_size, lfb_linelength, lfb_depth],
    [0x70, 0xc100_0000, 16 * MiB, 5120, 32],
  );
});

test("Debian 13's kernel: entered in 64-bit mode at its preferred address, with its header in the zero page", () => {
  const memory = GuestMemory.forTest(128 * MiB);
  const initrd = bootFileOf("initrd", new Uint8Array(5_000_000).fill(7));
  const state = boot(realKernel("debian13"), memory, initrd);
  assert.equal(state.rip, 16 * MiB + 0x200);
  assert.equal(state.rsi, Placement.bootInfo);
  assert.equal(state.cs.l, 1);
  assert.equal(state.efer, 0x500);
  assert.equal(memory.read(16 * MiB, 1)[0], (0x28 * 512) % 251);
  const page = BootParams.decode(memory.read(Placement.bootInfo, 4096));
  assert.equal(page.hdr.version, 0x20f);
  assert.equal(page.hdr.type_of_loader, 0xff);
  assert.equal(page.hdr.ramdisk_size, 5_000_000);
  assert.equal(page.hdr.ramdisk_image % 4096, 0);
  assert.ok(page.hdr.ramdisk_image + 5_000_000 <= 128 * MiB);
  assert.ok(page.hdr.ramdisk_image >= 16 * MiB + page.hdr.init_size);
  assert.equal(memory.read(page.hdr.ramdisk_image + 4_999_999, 1)[0], 7);
  assert.equal(page.acpi_rsdp_addr, RSDP);
  assert.equal(page.sentinel, 0);
  assert.equal(Buffer.from(memory.read(page.hdr.cmd_line_ptr, 14)).toString(), "console=ttyS0\0");
  assert.equal(page.e820_entries, 6);
  assert.deepEqual(page.e820_table[3], { addr: MiB, size: 127 * MiB, type: MemoryType.Ram });
});

test("the identity map covers 4 GiB and the GDT holds what the segments say", () => {
  const memory = GuestMemory.forTest(128 * MiB);
  const state = boot(realKernel("debian12"), memory);
  const u64big = (at: number) => new DataView(memory.read(at, 8).buffer).getBigUint64(0, true);
  const u64 = (at: number) => Number(u64big(at));
  for (const address of [0, 0x20_0000, 0x3fff_ffff, 0x8000_0000, 0xffff_ffff]) {
    const l3 = u64(state.cr3) - 3;
    const l2 = u64(l3 + Math.floor(address / GiB) * 8) - 3;
    const entry = u64(l2 + (Math.floor(address / (2 * MiB)) % 512) * 8);
    assert.equal(entry, Math.floor(address / (2 * MiB)) * 2 * MiB + 0x83);
  }
  const descriptor = (selector: number) => u64big(state.gdt.base + selector).toString(16);
  assert.equal(u64(state.gdt.base), 0);
  assert.equal(descriptor(0x10), "af9b000000ffff");
  assert.equal(descriptor(0x18), "cf93000000ffff");
  assert.equal(state.gdt.limit, 47);
});

test("memtest86+ is accepted: 64-bit entry for the x64 build, 32-bit entry for the ia32 build", () => {
  const memory = GuestMemory.forTest(64 * MiB);
  const wide = boot(realKernel("memtest64"), memory);
  assert.deepEqual([wide.rip, wide.cs.l], [MiB + 0x200, 1]);
  const narrow = boot(realKernel("memtest32"), memory);
  assert.deepEqual([narrow.rip, narrow.cs.l, narrow.cs.db], [MiB, 0, 1]);
  assert.deepEqual(
    [narrow.cr0 & 0x8000_0000, narrow.cr4, narrow.efer, narrow.rsi],
    [0, 0, 0, Placement.bootInfo],
  );
});

test("each malformed header field is refused by name", () => {
  const cases: [Parameters<typeof smallKernel>[0], string][] = [
    [{ boot_flag: 0 }, "boot_flag"],
    [{ version: 0x0209 }, "version"],
    [{ jump_opcode: 0xe9 }, "jump_opcode"],
    [{ jump_length: 0x10 }, "jump_length"],
    [{ jump_length: 0xff }, "jump_length"],
    [{ loadflags: 0 }, "loadflags"],
    [{ setup_sects: 200 }, "setup_sects"],
    [{ syssize: 0 }, "syssize"],
    [{ syssize: 257 }, "syssize"],
    [{ relocatable_kernel: 1, kernel_alignment: 0x300000 }, "kernel_alignment"],
    [{ relocatable_kernel: 1, kernel_alignment: 0x200000 }, "pref_address"],
    [{ pref_address: 0x1000 }, "pref_address"],
    [{ pref_address: 2 ** 40 }, "pref_address"],
    [{ pref_address: MiB + 1 }, "pref_address"],
    [{ init_size: 0 }, "init_size"],
    [{ cmdline_size: 0 }, "cmdline_size"],
    [{ header: 0 }, "HdrS"],
  ];
  const memory = GuestMemory.forTest(16 * MiB);
  boot(bootFileOf("good", smallKernel()), memory);
  for (const [change, field] of cases) {
    assert.throws(
      () => boot(bootFileOf("vmlinuz", smallKernel(change)), memory),
      (e) =>
        e instanceof ThimbleError &&
        e.code === "bad_kernel" &&
        e.message.includes("vmlinuz") &&
        e.message.includes(field),
      field,
    );
  }
});

test("what is no kernel is said to be none", () => {
  const memory = GuestMemory.forTest(16 * MiB);
  const text = (bytes: number[]) => {
    const file = new Uint8Array(2048);
    file.set(bytes);
    return bootFileOf("kernel", file);
  };
  assert.throws(() => boot(bootFileOf("kernel", new Uint8Array(0)), memory), {
    code: "bad_kernel",
    message: /empty/,
  });
  assert.throws(() => boot(text([0x1f, 0x8b]), memory), { code: "bad_kernel", message: /gzip/ });
  assert.throws(() => boot(text([0x4d, 0x5a]), memory), { code: "bad_kernel", message: /EFI/ });
  assert.throws(() => boot(text([1, 2, 3]), memory), { code: "bad_kernel", message: /neither/ });
});

test("too little memory, too long a command line and a bad initrd each get their own error", () => {
  const kernel = bootFileOf("kernel", smallKernel());
  const memory = GuestMemory.forTest(16 * MiB);
  assert.throws(() => boot(realKernel("debian13"), memory), { code: "memory_too_small" });
  assert.throws(() => boot(kernel, memory, bootFileOf("initrd", new Uint8Array(15 * MiB))), {
    code: "memory_too_small",
  });
  assert.throws(() => boot(kernel, memory, bootFileOf("initrd", new Uint8Array(0))), { code: "bad_initrd" });
  assert.throws(() => boot(kernel, memory, undefined, "x".repeat(256)), { code: "bad_command_line" });
  assert.throws(() => boot(kernel, memory, undefined, "caf\u00e9"), { code: "bad_command_line" });
  boot(kernel, memory, undefined, "x".repeat(255));
});

test("the memory map is ordered, without overlap, and holds all memory but the legacy holes", () => {
  for (const size of [
    16 * MiB,
    128 * MiB,
    3 * GiB - 2 * MiB,
    3 * GiB,
    3 * GiB + 2 * MiB,
    5 * GiB,
    64 * GiB,
  ]) {
    const map = buildMemoryMap(size);
    let end = 0;
    let ram = 0;
    for (const entry of map) {
      assert.ok(entry.start >= end && entry.size > 0);
      end = entry.start + entry.size;
      if (entry.type === MemoryType.Ram) ram += entry.size;
    }
    assert.equal(ram, size - (MiB - 0x9fc00));
  }
});

test("mutated kernels never throw anything but ThimbleError", () => {
  const random = new SeededRandom(testSeed());
  const memory = GuestMemory.forTest(32 * MiB);
  for (let i = 0; i < 4000; i++) {
    let file = smallKernel();
    for (let n = random.below(4); n >= 0; n--) {
      file[random.below(2) === 0 ? random.below(file.length) : SETUP_HEADER_OFFSET + random.below(0x80)] =
        random.u32();
    }
    if (random.below(4) === 0) file = file.slice(0, random.below(file.length + 1));
    try {
      boot(bootFileOf("mutant", file), memory);
    } catch (e) {
      assert.ok(e instanceof ThimbleError, `seed ${random.seed}: ${e}`);
    }
  }
  assert.equal(parseSetupHeader(bootFileOf("good", smallKernel())).loadAddress, MiB);
});
