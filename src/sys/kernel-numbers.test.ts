/** Numbers copied from the kernel's headers, checked against those of this machine's platform. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { test } from "node:test";
import * as errno from "./errno.ts";
import { io, ior, iow, iowr } from "./ioctl.ts";
import { decodeWaitStatus, describeExit } from "./process.ts";
import * as signals from "./signals.ts";
import { SYS } from "./syscall-numbers.ts";

const HEADERS = ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"];

test("error numbers are the platform's, and each has a name and a text", () => {
  const known = constants.errno as unknown as Record<string, number>;
  for (const [name, value] of Object.entries(errno)) {
    if (typeof value !== "number") continue;
    if (known[name] !== undefined) assert.equal(value, known[name], name);
    assert.equal(errno.errnoName(value), name);
    assert.notEqual(errno.errnoText(value), "unexpected error", name);
  }
  assert.equal(errno.errnoName(4000), "errno 4000");
});

test("signal numbers are the platform's", () => {
  const known = constants.signals as unknown as Record<string, number>;
  for (const [name, value] of Object.entries(signals)) {
    if (typeof value === "number") assert.equal(value, known[name], name);
  }
});

test("system call numbers are those of x86-64", (context) => {
  const header = HEADERS.find((path) => existsSync(path));
  if (header === undefined) {
    context.diagnostic("no kernel headers here to compare with");
    assert.equal(SYS.exit_group, 231);
    return;
  }
  const text = readFileSync(header, "utf8");
  for (const [name, value] of Object.entries(SYS)) {
    assert.match(text, new RegExp(`^#define __NR_${name} ${value}$`, "m"), name);
  }
});

test("ioctl requests are composed as in the kernel's headers", () => {
  assert.equal(io(0xae, 0x80), 0xae80); // KVM_RUN
  assert.equal(iow(0xae, 0x46, 32), 0x4020ae46); // KVM_SET_USER_MEMORY_REGION
  assert.equal(ior(0xae, 0x83, 312), 0x8138ae83); // KVM_GET_SREGS
  assert.equal(iowr(0xae, 0x05, 8), 0xc008ae05); // KVM_GET_SUPPORTED_CPUID
});

test("wait status words", () => {
  assert.deepEqual(decodeWaitStatus(3 << 8), { exitCode: 3 });
  assert.deepEqual(decodeWaitStatus(9), { signal: 9 });
  assert.deepEqual(decodeWaitStatus(0x80 | 11), { signal: 11 }); // with a core dump
  assert.equal(describeExit({ exitCode: 3 }), "exit status 3");
  assert.equal(describeExit({ signal: 9 }), "killed by signal 9");
});

test("SystemError is a sentence", () => {
  assert.throws(
    () => errno.check(-13, "open", "/dev/kvm"),
    (error: errno.SystemError) =>
      error.message === "open /dev/kvm failed: permission denied (EACCES)" && error.code === "system_error",
  );
  assert.equal(errno.check(0, "open"), 0);
  assert.equal(errno.check(2 ** 46, "mmap"), 2 ** 46);
});
