/** The program of backends.native.test.ts: the backends on real files and sockets, with real guest memory. */
import { GiB } from "../../base/addresses.ts";
import { SeededRandom } from "../../base/random.ts";
import { createQcow2 } from "../../disk/qcow2/create.ts";
import { Qcow2Image } from "../../disk/qcow2/image.ts";
import { EIO } from "../../sys/errno.ts";
import { commandLine } from "../../sys/exec.ts";
import { close, ftruncate, O_CREAT, O_RDWR, open, statFd, unlink } from "../../sys/fs.ts";
import { IoRing } from "../../sys/io-uring.ts";
import { connectUnix } from "../../sys/listener.ts";
import type { EventLoop } from "../../sys/loop.ts";
import { mapGuestRam } from "../../sys/memory.ts";
import { equal, ok, runTests, test, throwsName } from "../../sys/native/harness.ts";
import { RandomAccessFile } from "../../sys/random-access-file.ts";
import { utf8Decode, utf8Encode } from "../../sys/text.ts";
import type { DiskConfig } from "../config.ts";
import type { BlockBackend, BlockCompletion, SegmentList } from "../contract.ts";
import { createSegmentList, GuestMemory, layoutRam } from "../memory/guest-memory.ts";
import { ChannelSocket } from "./channel-socket.ts";
import { CharSocket } from "./char-socket.ts";
import { openDisk } from "./open-disk.ts";
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
function openRaw(path: string, readOnly = false): RawDisk {
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
  const disk = openRaw(path);
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
  const disk = openRaw(path);
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
  const disk = openRaw(path);
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
  const disk = openRaw(path);
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
  const writer = openRaw(path);
  throwsName("ThimbleError", () => openRaw(path));
  throwsName("ThimbleError", () => openRaw(path, true));
  writer.close();
  const readers = [openRaw(path, true), openRaw(path, true)];
  throwsName("ThimbleError", () => openRaw(path));
  for (const reader of readers) reader.close();
  close(fd);
});

test("what is no disk image is refused", () => {
  const { path, fd } = image("tiny", 511);
  throwsName("ThimbleError", () => openRaw(path));
  throwsName("ThimbleError", () => openRaw("/dev/null"));
  throwsName("SystemError", () => openRaw(`${directory}/none`));
  close(fd);
});

/** What a disk under test is opened as: with or without a ring, past the page cache or not. */
const WAYS = ["waiting", "ring", "ring, direct"] as const;

interface Opened {
  readonly disk: BlockBackend;
  run(request: (done: BlockCompletion) => void): Promise<number>;
  close(): void;
}

/** Null where this machine has no ring. */
function openBy(loop: EventLoop, way: (typeof WAYS)[number], config: DiskConfig): Opened | null {
  const ring = way === "waiting" ? null : IoRing.tryOpen(loop, 64);
  if (way !== "waiting" && ring === null) return null;
  const cache = way === "ring, direct" ? "direct" : "cached";
  const host = { memory, ring: () => ring, log: (message: string) => ok(false, message) };
  const disk = openDisk({ ...config, cache }, host);
  return {
    disk,
    run: (request) =>
      new Promise((resolve) => {
        request(resolve);
        disk.submit();
      }),
    close: () => {
      disk.close();
      ring?.close();
    },
  };
}

/** For arrays of whole, aligned words. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  const [one, other] = [a, b].map(
    (bytes) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
  );
  return (one as Uint32Array).every((word, i) => word === (other as Uint32Array)[i]);
}

/** Random requests, up to eight at once, none touching what another is at; a copy in memory says what has to be read. */
async function compareWithModel(
  loop: EventLoop,
  opened: Opened,
  random: SeededRandom,
  rounds: number,
): Promise<void> {
  const { disk, run } = opened;
  const model = new Uint8Array(disk.sizeBytes);
  const block = disk.blockSizeBytes ?? 512;
  const LANES = 8;
  const laneBytes = Math.floor(disk.sizeBytes / LANES / 4096) * 4096;
  const lane = async (index: number): Promise<void> => {
    for (let round = 0; round < rounds; round++) {
      const start = index * laneBytes + random.below(laneBytes / block) * block;
      const length = Math.min(random.pick([block, 4096, 65536, 150 * 1024]), (index + 1) * laneBytes - start);
      const size = Math.ceil(length / block) * block;
      // Buffers at odd places, in two segments; each lane has its own.
      const at = GiB + index * 2 * MiB + random.pick([0, 512, 13]);
      const cut = random.below(size / 512) * 512;
      const list = cut === 0 ? segments([at, size]) : segments([at, cut], [at + MiB, size - cut]);
      const operation = random.below(10);
      if (operation < 4) {
        const data = new Uint8Array(size).fill(random.below(256));
        for (let i = 0; i < size; i += 512) data[i] = i >> 9;
        memory.write(at, data.subarray(0, cut === 0 ? size : cut));
        if (cut !== 0) memory.write(at + MiB, data.subarray(cut));
        equal(await run((done) => disk.write(start, list, done)), 0, "write");
        model.set(data, start);
      } else if (operation < 8) {
        equal(await run((done) => disk.read(start, list, done)), 0, "read");
        const back = new Uint8Array(size);
        back.set(memory.read(at, cut === 0 ? size : cut));
        if (cut !== 0) back.set(memory.read(at + MiB, size - cut), cut);
        ok(sameBytes(back, model.subarray(start, start + size)), `wrong bytes in ${size} at ${start}`);
      } else if (operation === 8) {
        equal(await run((done) => disk.writeZeroes(start, size, random.below(2) === 0, done)), 0, "zeroes");
        model.fill(0, start, start + size);
      } else {
        equal(await run((done) => disk.flush(done)), 0, "flush");
      }
      if (random.below(20) === 0) await loop.sleep(0);
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, index) => lane(index)));
}

for (const way of WAYS) {
  test(`a raw disk does what was asked of it (${way})`, async (loop) => {
    const { path, fd } = image(`model-${way}`, 24 * MiB);
    const opened = openBy(loop, way, { path, readOnly: false });
    if (opened !== null) {
      await compareWithModel(loop, opened, new SeededRandom(7), 150);
      opened.close();
    }
    close(fd);
  });

  test(`a qcow2 disk does what was asked of it, and is sound afterwards (${way})`, async (loop) => {
    const { path, fd } = image(`model-${way}.qcow2`, 0);
    createQcow2(new RandomAccessFile(fd, path), { sizeBytes: 24 * MiB });
    const opened = openBy(loop, way, { path, readOnly: false, format: "qcow2" });
    if (opened !== null) {
      await compareWithModel(loop, opened, new SeededRandom(8), 150);
      opened.close();
      const again = new Qcow2Image(new RandomAccessFile(open(path, O_RDWR), path));
      const { leaks, errors } = again.check();
      equal(`${leaks} ${errors}`, "0 0");
      again.close();
    }
    close(fd);
  });
}

test("a qcow2 disk reads what it does not have from the files it is based on", async (loop) => {
  const base = image("base.raw", MiB);
  memory.write(0, new Uint8Array(MiB).fill(0x11));
  const raw = openDisk({ path: base.path, readOnly: false }, { memory, ring: () => null, log: () => {} });
  raw.write(0, segments([0, MiB]), () => {});
  raw.close();
  const { path, fd } = image("top.qcow2", 0);
  createQcow2(new RandomAccessFile(fd, path), {
    sizeBytes: 2 * MiB,
    backing: { name: "base.raw", format: "raw" },
  });
  const config = {
    path,
    readOnly: false,
    format: "qcow2",
    backing: [{ path: base.path, format: "raw" }],
  } as const;
  throwsName("ThimbleError", () =>
    openDisk({ path, readOnly: false, format: "qcow2" }, { memory, ring: () => null, log: () => {} }),
  );
  const opened = openBy(loop, "waiting", config) as Opened;
  memory.write(0, new Uint8Array(512).fill(0x22));
  equal(await opened.run((done) => opened.disk.write(4096, segments([0, 512]), done)), 0);
  equal(await opened.run((done) => opened.disk.read(0, segments([GiB, 2 * MiB]), done)), 0);
  const back = memory.read(GiB, 2 * MiB);
  const expected = (i: number) => (i >= MiB ? 0 : i >= 4096 && i < 4608 ? 0x22 : 0x11);
  equal(
    back.findIndex((byte, i) => byte !== expected(i)),
    -1,
  );
  opened.close();
  close(fd);
  close(base.fd);
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

test("a channel's client waits for the guest, gets its last words, and the next client follows", async (loop) => {
  const path = `${directory}/channel`;
  const fd = listenUnixSocket(path);
  const channel = new ChannelSocket(loop, fd);
  const seen: string[] = [];
  channel.connect({
    input: (bytes) => seen.push(utf8Decode(bytes)) && bytes.length,
    connected: (is) => seen.push(is ? "comes" : "goes"),
    room: () => {},
  });
  const client = await connectUnix(loop, path);
  const next = await connectUnix(loop, path);
  await client.write(utf8Encode("early"));
  await loop.sleep(5);
  equal(seen.join(), "");
  channel.setOpen(true);
  while (seen.length < 2) await loop.sleep(1);
  equal(seen.join(), "comes,early");
  const sent = 300 * 1024;
  for (let at = 0; at < sent && channel.hasRoom; at += 1024) channel.write(new Uint8Array(1024));
  ok(!channel.hasRoom, "a client that reads nothing makes the guest wait");
  channel.setOpen(false);
  let got = 0;
  for (let bytes = await client.read(); bytes !== null; bytes = await client.read()) got += bytes.length;
  ok(got > 64 * 1024 && got < sent, `${got} bytes`);
  channel.setOpen(true);
  while (seen.length < 3) await loop.sleep(1);
  next.close();
  while (seen.length < 4) await loop.sleep(1);
  equal(seen.join(), "comes,early,comes,goes");
  client.close();
  channel.setOpen(false);
  close(fd);
  unlink(path);
});

runTests();
