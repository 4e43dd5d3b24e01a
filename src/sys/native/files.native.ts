/** Files, directories, mounts' state. */
import { EISDIR, ENOENT, ENOTDIR } from "../errno.ts";
import {
  chmod,
  close,
  exists,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  fallocate,
  fsync,
  ftruncate,
  lstat,
  makeDirectories,
  mkdir,
  O_CREAT,
  O_RDWR,
  open,
  pipe,
  poll,
  pwrite,
  readDirectory,
  readFile,
  readLink,
  readText,
  removeTree,
  rename,
  replaceFile,
  stat,
  symlink,
  tryStat,
  tryUnlink,
  write,
  writeFile,
} from "../fs.ts";
import { statfs } from "../mount.ts";
import { getpid } from "../process.ts";
import { equal, ok, runTests, test, throwsErrno } from "./harness.ts";

const base = `/tmp/thimble-files-${getpid()}`;

test("directories are made, listed and removed", () => {
  makeDirectories(`${base}/a/b/c`);
  makeDirectories(`${base}/a/b/c`);
  writeFile(`${base}/a/file`, "text");
  symlink("file", `${base}/a/link`);
  equal(readDirectory(`${base}/a`), [
    { name: "b", kind: "directory" },
    { name: "file", kind: "file" },
    { name: "link", kind: "symlink" },
  ]);
  for (let i = 0; i < 600; i++) writeFile(`${base}/a/b/file-with-a-long-name-${i}`, "");
  equal(readDirectory(`${base}/a/b`).length, 601);
  throwsErrno(ENOTDIR, () => mkdir(`${base}/a/file/x`));
  removeTree(`${base}/a`);
  equal(exists(`${base}/a`), false);
});

test("whole files are written, read and replaced", () => {
  const path = `${base}/whole`;
  const content = new Uint8Array(300_000).map((_, i) => i * 7);
  writeFile(path, content);
  const back = readFile(path);
  equal(back.length, content.length);
  ok(
    back.every((byte, i) => byte === content[i]),
    "content differs",
  );
  writeFile(path, "sh\u00f6rt");
  equal(readText(path), "sh\u00f6rt");
  replaceFile(path, "new");
  equal(readText(path), "new");
  throwsErrno(EISDIR, () => readFile(base));
  throwsErrno(ENOENT, () => readFile(`${base}/none`));
  equal(tryStat(`${base}/none`), null);
});

test("a file of /proc, which has no size, is read whole", () => {
  ok(readText("/proc/self/maps").includes("[stack]"), "no stack in /proc/self/maps");
});

test("stat tells kind, mode, size and space", () => {
  const path = `${base}/sparse`;
  const fd = open(path, O_RDWR | O_CREAT, 0o600);
  ftruncate(fd, 5 * 2 ** 30);
  equal(stat(path).sizeBytes, 5 * 2 ** 30);
  equal(stat(path).allocatedBytes, 0);
  pwrite(fd, new Uint8Array(65536).fill(1), 2 ** 32);
  fsync(fd);
  equal(stat(path).allocatedBytes, 65536);
  fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 2 ** 32, 65536);
  equal(stat(path).allocatedBytes, 0);
  close(fd);
  chmod(path, 0o4711);
  equal([stat(path).kind, stat(path).mode, stat(path).links], ["file", 0o4711, 1]);
  ok(Math.abs(stat(path).modifiedMs - Date.now()) < 60_000, "modification time");
  rename(path, `${path}2`);
  symlink("sparse2", path);
  equal([lstat(path).kind, stat(path).kind, readLink(path)], ["symlink", "file", "sparse2"]);
  equal([tryUnlink(path), tryUnlink(path)], [true, false]);
  equal(
    [stat("/dev/null").kind, stat("/dev/null").deviceMajor, stat("/dev/null").deviceMinor],
    ["character", 1, 3],
  );
});

test("poll waits for one descriptor", () => {
  const [input, output] = pipe();
  const POLLIN = 1;
  equal(poll(input, POLLIN, 1), 0);
  write(output, Uint8Array.of(1));
  equal(poll(input, POLLIN, 1000), POLLIN);
  close(input);
  close(output);
});

test("statfs tells size and free space", () => {
  const usage = statfs("/tmp");
  ok(usage.sizeBytes > usage.freeBytes && usage.freeBytes > 0, JSON.stringify(usage));
});

makeDirectories(base);
test("clean up", () => removeTree(base));
runTests();
