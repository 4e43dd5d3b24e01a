/** The bridge itself: arguments, memory, text. */
import { EBADF, EFAULT, ENOENT } from "../errno.ts";
import { close, O_CREAT, O_RDWR, open, pread, pwrite, read, stat, tryUnlink } from "../fs.ts";
import { createMemoryFile, mapShared } from "../memory.ts";
import { SYS } from "../syscall-numbers.ts";
import { utf8Decode, utf8Encode } from "../text.ts";
import { equal, ok, runTests, test, throwsErrno, throwsName } from "./harness.ts";

test("a failing call returns its negative errno, with and without the lock", () => {
  equal(bridge.syscall(SYS.close, -1), -EBADF);
  equal(bridge.syscallBlocking(SYS.close, -1), -EBADF);
  equal(bridge.syscall(SYS.write, 1, 8, 1), -EFAULT);
  equal(bridge.syscall(999999), -38);
});

test("SystemError names call, object and errno", () => {
  const error = throwsErrno(ENOENT, () => open("/does/not/exist", 0));
  equal(error.message, "open /does/not/exist failed: no such file or directory (ENOENT)");
  equal(
    [error.code, error.errnoName, error.call, error.object],
    ["system_error", "ENOENT", "open", "/does/not/exist"],
  );
});

test("numbers above 32 bits and negative ones arrive as they are", () => {
  const path = `/tmp/thimble-bridge-${bridge.syscall(SYS.getpid)}`;
  const fd = open(path, O_RDWR | O_CREAT);
  try {
    const far = 2 ** 33 + 4097;
    pwrite(fd, Uint8Array.of(7), far);
    equal(stat(path).sizeBytes, far + 1);
    equal(bridge.syscall(SYS.lseek, fd, -1, 2), far, "lseek from the end");
    const one = new Uint8Array(1);
    equal(read(fd, one), 1);
    equal(one[0], 7);
  } finally {
    close(fd);
    tryUnlink(path);
  }
});

test("wrong arguments throw before anything is called", () => {
  throwsName("TypeError", () => bridge.syscall(SYS.close, "1" as unknown as number));
  throwsName("TypeError", () => bridge.syscall(SYS.close, undefined as unknown as number));
  throwsName("RangeError", () => bridge.syscall(SYS.close, 2 ** 54));
  throwsName("RangeError", () => bridge.syscall(SYS.close, Number.NaN));
  throwsName("TypeError", () => bridge.syscall(SYS.mmap, 0, 0, 0, 0, 0, 0, 0));
});

test("an address includes the view's offset", () => {
  const buffer = new ArrayBuffer(64);
  const base = bridge.addressOf(buffer);
  equal(bridge.addressOf(new Uint8Array(buffer, 5)), base + 5);
  equal(bridge.addressOf(new Uint32Array(buffer, 8, 2)), base + 8);
  equal(bridge.addressOf(new DataView(buffer, 3, 4)), base + 3);
  equal(bridge.addressOf(new Uint8Array(buffer).subarray(16).subarray(1)), base + 17);
});

test("views of mapped memory show it, at both ends, and are empty after unmap", () => {
  const size = 3 * 2 ** 20;
  const fd = createMemoryFile("test", size);
  const first = mapShared(fd, 0, size);
  const second = mapShared(fd, 0, size);
  const a = new Uint8Array(first.view());
  const b = new Uint8Array(second.view(size - 4096));
  a[size - 1] = 0x5a;
  equal(b[4095], 0x5a);
  const back = new Uint8Array(1);
  equal(pread(fd, back, size - 1), 1);
  equal(back[0], 0x5a);
  throwsName("RangeError", () => first.view(size - 1, 2));
  first.unmap();
  equal([a.length, a[0] === undefined], [0, true]);
  throwsName("RangeError", () => first.view());
  second.unmap();
  close(fd);
});

test("a detached buffer passes as a null pointer", () => {
  const fd = createMemoryFile("test", 4096);
  const mapping = mapShared(fd, 0, 4096);
  const view = new Uint8Array(mapping.view());
  mapping.unmap();
  equal(bridge.syscall(SYS.read, fd, view, 16), -EFAULT);
  close(fd);
});

test("view refuses what the engine cannot hold", () => {
  throwsName("RangeError", () => bridge.view(4096, 2 ** 31));
  throwsName("RangeError", () => bridge.view(0, 1));
});

test("UTF-8 both ways", () => {
  for (const text of ["", "plain", "h\u00e9", "\u20ac", "\u{1f600}x", "a\0b", "\u{10ffff}\ud7ff\ue000"]) {
    equal(utf8Decode(utf8Encode(text)), text);
  }
  equal(utf8Encode("\ud800x\udc00"), Uint8Array.of(0xef, 0xbf, 0xbd, 0x78, 0xef, 0xbf, 0xbd));
});

test("malformed UTF-8 becomes U+FFFD once per maximal part", () => {
  const cases: [number[], string][] = [
    [[0x80], "\ufffd"],
    [[0xc0, 0xaf], "\ufffd\ufffd"],
    [[0xe2, 0x82, 0x41], "\ufffdA"],
    [[0xed, 0xa0, 0x80], "\ufffd\ufffd\ufffd"],
    [[0xf0, 0x9f, 0x98], "\ufffd"],
    [[0xf4, 0x90, 0x80, 0x80], "\ufffd\ufffd\ufffd\ufffd"],
    [[0xf8, 0x88, 0x80, 0x80, 0x80], "\ufffd\ufffd\ufffd\ufffd\ufffd"],
  ];
  for (const [bytes, text] of cases) equal(utf8Decode(Uint8Array.from(bytes)), text, `bytes ${bytes}`);
});

test("the stack is limited by an exception, not by a crash", () => {
  let depth = 0;
  const deeper = (): number => {
    depth++;
    return deeper() + 1;
  };
  throwsName("InternalError", deeper);
  ok(depth > 1000, `only ${depth} calls deep`);
});

runTests();
