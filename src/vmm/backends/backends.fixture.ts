/** The program of backends.native.test.ts: the backends on real files and sockets, with real guest memory. */
import { GiB } from "../../base/addresses.ts";
import { SeededRandom } from "../../base/random.ts";
import { EIO } from "../../sys/errno.ts";
import { commandLine } from "../../sys/exec.ts";
import { close, ftruncate, O_CREAT, O_RDWR, open, statFd, unlink } from "../../sys/fs.ts";
import { connectUnix } from "../../sys/listener.ts";
import type { EventLoop } from "../../sys/loop.ts";
import { mapGuestRam } from "../../sys/memory.ts";
import { equal, ok, runTests, test, throwsName } from "../../sys/native/harness.ts";
import { utf8Decode, utf8Encode } from "../../sys/text.ts";
import type { BlockCompletion, SegmentList } from "../contract.ts";
import { createSegmentList, GuestMemory, layoutRam } from "../memory/guest-memory.ts";
import { CharSocket } from "./char-socket.ts";
import { RawDisk } from "./raw-disk.ts";
import { listenUnixSocket } from "./unix-socket.ts";

const directory = commandLine()[1] as string;
/** Reaches above the PCI hole; pages come into being when touched, so it costs nothing. */
const ram = mapGuestRam("backends", layoutRam(4 * GiB));
const memory = new GuestMemory(ram.regions, ram.map);
const MiB = 1024 * 1024;

function image(name: string, sizeBytes: number): { path: string; fd: number } {
  const path = `${directory}/${name}`;
  const fd = open(path, O_RDWR | O_CREAT);
  ftruncate(fd, sizeBytes);
  return { path, fd };
}

/** Without a ring, every request completes at once. */
function openDisk(path: string, readOnly = false): RawDisk {
  return new RawDisk(path, memory, { readOnly });
}

/** The result of a request that completes at once. */
function resultOf(request: (done: BlockCompletion) => void): number {
  let result: number | null = null;
  request((value) => {
    result = value;
  });
  if (result === null) throw new Error("the request did not complete");
  return result;
}

function segments(...parts: [address: number, length: number][]): SegmentList {
  const list = createSegmentList(parts.length);
  parts.forEach(([address, length], i) => {
    list.address[i] = address;
    list.length[i] = length;
  });
  list.count = parts.length;
  return list;
}

test("what is written from scattered guest memory is read back into other places", () => {
  const { path, fd } = image("scattered", 8 * MiB);
  const disk = openDisk(path);
  const random = new SeededRandom(1);
  const from: [number, number][] = [
    [0x1000, 512],
    [5 * GiB - 4096, 4096],
    [GiB - 100, 200], // across two windows
    [2 * GiB + 1, 3 * MiB],
  ];
  const total = from.reduce((sum, [, length]) => sum + length, 0);
  const data = random.fill(new Uint8Array(total));
  let at = 0;
  for (const [address, length] of from) {
    memory.write(address, data.subarray(at, at + length));
    at += length;
  }
  equal(
    resultOf((done) => disk.write(4096, segments(...from), done)),
    0,
  );
  equal(
    resultOf((done) => disk.flush(done)),
    0,
  );
  equal(
    resultOf((done) => disk.read(4096, segments([4 * GiB + 7, total]), done)),
    0,
  );
  const back = memory.read(4 * GiB + 7, total);
  ok(
    back.every((byte, i) => byte === data[i]),
    "the bytes differ",
  );
  disk.close();
  close(fd);
});

test("a request of more segments than one system call takes is done in several", () => {
  const { path, fd } = image("many", 4 * MiB);
  const disk = openDisk(path);
  const count = 3000;
  const parts = Array.from({ length: count }, (_, i): [number, number] => [0x10_0000 + i * 1024, 512]);
  parts.forEach(([address], i) => {
    memory.write(address, new Uint8Array(512).fill(i & 0xff));
  });
  equal(
    resultOf((done) => disk.write(0, segments(...parts), done)),
    0,
  );
  equal(
    resultOf((done) => disk.read(0, segments([GiB, count * 512]), done)),
    0,
  );
  for (let i = 0; i < count; i++) equal(memory.read(GiB + i * 512 + 511, 1)[0], i & 0xff, `sector ${i}`);
  disk.close();
  close(fd);
});

test("a file that became shorter gives an input/output error", () => {
  const { path, fd } = image("shorter", MiB);
  const disk = openDisk(path);
  ftruncate(fd, 4096);
  equal(
    resultOf((done) => disk.read(0, segments([0, 8192]), done)),
    -EIO,
  );
  disk.close();
  close(fd);
});

test("discarded and zeroed ranges read as zeroes, and holes take no space", () => {
  const { path, fd } = image("holes", 8 * MiB);
  const disk = openDisk(path);
  memory.write(0, new Uint8Array(4 * MiB).fill(0xaa));
  equal(
    resultOf((done) => disk.write(0, segments([0, 4 * MiB]), done)),
    0,
  );
  const full = statFd(fd).allocatedBytes;
  equal(
    resultOf((done) => disk.discard(0, MiB, done)),
    0,
  );
  equal(
    resultOf((done) => disk.writeZeroes(MiB, MiB, true, done)),
    0,
  );
  ok(
    statFd(fd).allocatedBytes <= full - 2 * MiB,
    `${statFd(fd).allocatedBytes} of ${full} bytes are allocated`,
  );
  equal(
    resultOf((done) => disk.writeZeroes(2 * MiB + 512, MiB + 512, false, done)),
    0,
  );
  equal(
    resultOf((done) => disk.read(0, segments([GiB, 4 * MiB]), done)),
    0,
  );
  const back = memory.read(GiB, 4 * MiB);
  const isData = (i: number) => (i >= 2 * MiB && i < 2 * MiB + 512) || i >= 3 * MiB + 1024;
  const wrong = back.findIndex((byte, i) => byte !== (isData(i) ? 0xaa : 0));
  equal(wrong, -1, "first wrong byte");
  equal(disk.sizeBytes, 8 * MiB);
  disk.close();
  close(fd);
});

test("a disk is written by one VM or read by many", () => {
  const { path, fd } = image("locked", MiB);
  const writer = openDisk(path);
  throwsName("ThimbleError", () => openDisk(path));
  throwsName("ThimbleError", () => openDisk(path, true));
  writer.close();
  const readers = [openDisk(path, true), openDisk(path, true)];
  throwsName("ThimbleError", () => openDisk(path));
  for (const reader of readers) reader.close();
  close(fd);
});

test("what is no disk image is refused", () => {
  const { path, fd } = image("tiny", 511);
  throwsName("ThimbleError", () => openDisk(path));
  throwsName("ThimbleError", () => openDisk("/dev/null"));
  throwsName("SystemError", () => openDisk(`${directory}/none`));
  close(fd);
});

async function withSocket(
  loop: EventLoop,
  body: (port: CharSocket, path: string) => Promise<void>,
): Promise<void> {
  const path = `${directory}/serial`;
  const fd = listenUnixSocket(path);
  const port = new CharSocket(loop, fd);
  await body(port, path);
  port.close();
  close(fd);
  unlink(path);
}

test("a client gets what was printed before it came, then what is printed", (loop) =>
  withSocket(loop, async (port, path) => {
    port.write(utf8Encode("before "));
    const client = await connectUnix(loop, path);
    let seen = utf8Decode((await client.read()) ?? new Uint8Array(0));
    port.write(utf8Encode("after"));
    while (!seen.endsWith("after")) seen += utf8Decode((await client.read()) ?? utf8Encode("(end)after"));
    equal(seen, "before after");
    client.close();
  }));

test("input the guest does not take waits until it has room again", (loop) =>
  withSocket(loop, async (port, path) => {
    let room = 3;
    let seen = "";
    port.onInput((bytes) => {
      const taken = bytes.subarray(0, room);
      room -= taken.length;
      seen += utf8Decode(taken);
      return taken.length;
    });
    const client = await connectUnix(loop, path);
    await client.write(utf8Encode("0123456789"));
    while (seen.length < 3) await loop.sleep(1);
    equal(seen, "012");
    for (; seen.length < 10; await loop.sleep(1)) {
      room = 4;
      port.resume();
    }
    equal(seen, "0123456789");
    client.close();
  }));

test("a client that does not read is dropped, the others go on", (loop) =>
  withSocket(loop, async (port, path) => {
    const idle = await connectUnix(loop, path);
    const reader = await connectUnix(loop, path);
    const piece = new Uint8Array(4096).fill(0x2e);
    port.write(piece);
    let received = ((await reader.read()) as Uint8Array).length;
    const pieces = 1000;
    for (let i = 1; i < pieces; i++) {
      port.write(piece);
      while (received < (i + 1) * piece.length) received += ((await reader.read()) as Uint8Array).length;
    }
    equal(received, pieces * piece.length);
    let got = 0;
    for (let bytes = await idle.read(); bytes !== null; bytes = await idle.read()) got += bytes.length;
    ok(got < pieces * piece.length, "the idle client was not dropped");
    reader.close();
    idle.close();
  }));

runTests();
