import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { qemuFixLibrary } from "./qemu-fix.ts";

/** A program with the functions of QEMU that matter. Its exit status has a bit for each error that it shows. */
const program = `
  struct cpu { char before[772]; int exception_index; };
  __thread struct cpu *current_cpu;
  int cleared, delivered;
  __attribute__((noinline)) void cpu_clear_ignne(void) { cleared = 1; }
  __attribute__((noinline)) void cpu_loop_exit(struct cpu *cpu) { __asm__ volatile("" :: "r"(cpu)); }
  __attribute__((noinline)) void cpu_loop_exit_noexc(struct cpu *cpu) {
    cpu->exception_index = -1;
    cpu_loop_exit(cpu);
    __asm__ volatile("");
  }
  __attribute__((noinline)) void do_interrupt_all(struct cpu *cpu, int n, int is_int, int code, long next, int hw) {
    delivered += cpu == current_cpu && n == 236 && !is_int && !code && !next && hw;
  }
  __attribute__((noinline)) void do_interrupt_x86_hardirq(void *env, int n, int hw) {
    do_interrupt_all((struct cpu *)((char *)env - 8), n, 0, 0, 0, hw);
    __asm__ volatile("nop; nop; nop; nop");
  }
  int locked, interrupted;
  _Bool qemu_mutex_iothread_locked(void) { return locked; }
  void qemu_mutex_lock_iothread_impl(const char *file, int line) { locked = 1; }
  void qemu_mutex_unlock_iothread(void) { locked = 0; }
  void tcg_handle_interrupt(struct cpu *cpu, int mask) { interrupted = locked && cpu == current_cpu && mask == 256; }
  __attribute__((noinline)) void cpu_interrupt(struct cpu *cpu, int mask) {
    tcg_handle_interrupt(cpu, mask);
    __asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop");
  }
  long given[3];
  unsigned helper_cc_compute_all(long dst, long src, long src2, int op) {
    given[0] = dst; given[1] = src; given[2] = src2;
    return op == 1 ? 0x828efa42 : 0;
  }
  unsigned cpu_cc_compute_all(void *env, int op);
  __asm__(".globl cpu_cc_compute_all; .type cpu_cc_compute_all, @function; cpu_cc_compute_all:"
    ".byte 0x48, 0x8b, 0x97, 16, 0, 0, 0, 0x89, 0xf1, 0x48, 0x8b, 0xb7, 8, 0, 0, 0, 0x48, 0x8b, 0xbf, 0, 0, 0, 0;"
    "call helper_cc_compute_all; ret");
  int main(void) {
    static struct cpu cpu;
    long env[3] = { 7, 8, 9 };
    unsigned flags = cpu_cc_compute_all(env, 1);
    int called = given[0] == 7 && given[1] == 8 && given[2] == 9;
    current_cpu = &cpu;
    cpu.exception_index = 236;
    cpu_clear_ignne();
    do_interrupt_x86_hardirq((char *)&cpu + 8, 236, 1);
    cpu_interrupt(&cpu, 256);
    int unlocked = !interrupted || locked;
    return cleared | (cpu.exception_index != -1) << 1 | (delivered != 1) << 2 | unlocked << 3 | (!called || flags != 0x840) << 4;
  }`;

test("the first four errors are gone from a program that has QEMU's functions", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-qemu-fix-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const source = join(directory, "program.c");
  const path = join(directory, "program");
  writeFileSync(source, program);
  execFileSync("gcc", ["-O1", "-rdynamic", "-o", path, source]);
  assert.equal(spawnSync(path).status, 27);
  assert.equal(spawnSync(path, { env: { LD_PRELOAD: await qemuFixLibrary() } }).status, 0);
});

test("QEMU runs the code that another CPU has written", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-stale-code-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const kernel = join(directory, "kernel");
  const source = fileURLToPath(new URL("stale-code.S", import.meta.url));
  const layout = ["-m32", "-nostdlib", "-static", "-Wl,-Ttext=0x100000,--build-id=none"];
  execFileSync("gcc", [...layout, "-o", kernel, source]);
  const machine = [
    "-nodefaults",
    "-display",
    "none",
    "-M",
    "q35",
    "-accel",
    "tcg,thread=multi",
    "-smp",
    "2",
    "-m",
    "64",
  ];
  const { status } = spawnSync(
    "qemu-system-x86_64",
    [...machine, "-kernel", kernel, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"],
    { env: { ...process.env, LD_PRELOAD: await qemuFixLibrary() }, timeout: 300_000 },
  );
  assert.ok(status !== null && (status & 1) === 1, `QEMU ended with status ${status}`);
  const wrongRounds = status >> 1;
  // Unrepaired it is dozens. A CPU preempted at the wrong moment can still be overtaken: about one in 30,000 rounds.
  assert.ok(wrongRounds <= 8, `old code ran in ${wrongRounds} of 3,000 rounds`);
});

test("Debian's QEMU has the functions", () => {
  const qemu = execFileSync("sh", ["-c", "command -v qemu-system-x86_64"], { encoding: "utf8" }).trim();
  const symbols = execFileSync("nm", ["-D", "--defined-only", qemu], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  for (const name of [
    "cpu_clear_ignne",
    "cpu_loop_exit_noexc",
    "do_interrupt_all",
    "do_interrupt_x86_hardirq",
  ]) {
    assert.match(symbols, new RegExp(` T ${name}$`, "m"));
  }
  // Later versions compute the flags of CMPXCHG16B in another way, and read code with its page locked.
  const version = execFileSync(qemu, ["--version"], { encoding: "utf8" });
  if (version.includes("version 7.2")) {
    const address = Number.parseInt(/^([0-9a-f]+) T cpu_cc_compute_all$/m.exec(symbols)?.[1] ?? "", 16);
    const code = readFileSync(qemu)
      .subarray(address, address + 29)
      .toString("hex");
    assert.match(code, /^488b97.{8}89f1488bb7.{8}488bbf.{8}e8.{8}c3$/);
    const genCode = Number.parseInt(/^([0-9a-f]+) T tb_gen_code$/m.exec(symbols)?.[1] ?? "", 16);
    const start = readFileSync(qemu)
      .subarray(genCode, genCode + 96)
      .toString("hex");
    assert.match(start, /^415741564589c6415541544989fc55534881ec88000000.*488b87/);
  }
  assert.match(symbols, / B current_cpu$/m);
  assert.match(symbols, / T cpu_interrupt$/m);
  assert.match(symbols, / T (qemu_mutex_lock_iothread_impl|bql_lock_impl)$/m);
});
