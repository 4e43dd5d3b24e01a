/** Starting programs. */
import { ThimbleError } from "../../base/errors.ts";
import { EACCES, ENOENT } from "../errno.ts";
import { close, O_RDONLY, open, pipe, read, readDirectory } from "../fs.ts";
import { exitOf, kill, killPidfd, reapAny, spawn, waitProcess } from "../process.ts";
import { SYS } from "../syscall-numbers.ts";
import { utf8Decode } from "../text.ts";
import { equal, ok, rejection, runTests, test, throwsErrno } from "./harness.ts";

function shell(script: string, more: Partial<Parameters<typeof spawn>[0]> = {}) {
  return spawn({ path: "/bin/sh", argv: ["sh", "-c", script], ...more });
}

function readAll(fd: number): string {
  const buffer = new Uint8Array(65536);
  let used = 0;
  for (let size = read(fd, buffer); size > 0; size = read(fd, buffer.subarray(used))) used += size;
  close(fd);
  return utf8Decode(buffer.subarray(0, used));
}

function output(script: string, more: Partial<Parameters<typeof spawn>[0]> = {}): string {
  const [input, write] = pipe();
  const child = shell(script, { stdout: write, ...more });
  close(write);
  const text = readAll(input);
  waitProcess(child.pidfd, true);
  close(child.pidfd);
  return text;
}

test("exit status and signal are told apart", async (loop) => {
  equal(await exitOf(loop, shell("exit 3")), { exitCode: 3 });
  equal(await exitOf(loop, shell("kill -9 $$")), { signal: 9 });
  const child = spawn({ path: "/bin/sleep", argv: ["sleep", "100"] });
  equal(waitProcess(child.pidfd), null);
  ok(killPidfd(child.pidfd, 15), "kill failed");
  equal(await exitOf(loop, child), { signal: 15 });
  equal(kill(child.pid, 0), false, "still there");
});

test("arguments and environment arrive, and nothing else", () => {
  equal(
    output('echo "$0 $1 $A $PATH_OF_PARENT"', {
      argv: ["sh", "-c", 'echo "$0 $1 $A"; env | wc -l', "zero", "o\u00e9"],
      env: { A: "b c" },
    }),
    "zero o\u00e9 b c\n2\n",
  );
});

test("descriptors are put in place, swapped ones too; others are closed", () => {
  const file = open("/dev/zero", O_RDONLY);
  const [input, write] = pipe();
  const child = spawn({
    path: "/bin/sh",
    argv: ["sh", "-c", "ls -l /proc/self/fd >&4"],
    stdout: null,
    fds: [
      { fd: write, as: 4 },
      { fd: file, as: 5 },
    ],
  });
  close(write);
  const lines = readAll(input)
    .split("\n")
    .filter((line) => line.includes(" -> "));
  const numbers = lines.map((line) => line.split(" -> ")[0]?.split(" ").pop());
  equal(numbers, ["0", "1", "2", "3", "4", "5"]); // 3 is the directory that ls itself reads
  ok(lines[5]?.endsWith("/dev/zero") === true, lines.join());
  waitProcess(child.pidfd, true);
  close(child.pidfd);
  close(file);
});

test("a program that cannot be executed is an exception here", () => {
  throwsErrno(ENOENT, () => spawn({ path: "/no/such/program" }));
  throwsErrno(EACCES, () => spawn({ path: "/etc/passwd" }));
  equal(reapAny(), null, "children left");
});

test("childSetup runs in the child; what it throws is thrown here", async () => {
  equal(
    output("pwd", { childSetup: () => void bridge.syscall(SYS.chdir, bridge.utf8Encode("/usr\0")) }),
    "/usr\n",
  );
  const failing = async () =>
    spawn({
      path: "/bin/true",
      childSetup: () => {
        throw new Error("not today");
      },
    });
  const error = await rejection(failing());
  ok(error instanceof ThimbleError && error.code === "spawn_failed", String(error));
  equal(error.message, "/bin/true could not be started: not today");
});

test("the child gets SIGPIPE as programs expect it", () => {
  equal(output("grep SigIgn /proc/self/status").split("\t")[1], "0000000000000000\n");
  equal(output("grep SigBlk /proc/self/status").split("\t")[1], "0000000000000000\n");
});

test("PID 1's way of reaping", async (loop) => {
  const child = shell("exit 5");
  for (let i = 0; i < 3000; i++) {
    const ended = reapAny();
    if (ended !== null) {
      equal(ended, { pid: child.pid, status: { exitCode: 5 } });
      close(child.pidfd);
      return;
    }
    await loop.sleep(10);
  }
  throw new Error("the child was not reaped");
});

test("a hundred programs leave no descriptor and no process", async (loop) => {
  const before = readDirectory("/proc/self/fd").length;
  for (let i = 0; i < 100; i++) equal(await exitOf(loop, spawn({ path: "/bin/true" })), { exitCode: 0 });
  equal(readDirectory("/proc/self/fd").length, before);
  equal(reapAny(), null);
});

runTests();
