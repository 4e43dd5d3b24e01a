/** Sockets and streams. */

import { ThimbleError } from "../../base/errors.ts";
import { SeededRandom } from "../../base/random.ts";
import { AF_INET, AF_UNIX, formatAddress, inetAddress } from "../address.ts";
import { EAGAIN, ECONNREFUSED, ECONNRESET, EPIPE, SystemError } from "../errno.ts";
import { close, readDirectory } from "../fs.ts";
import { connectTcp, connectUnix, listenTcp, listenUnix } from "../listener.ts";
import type { EventLoop } from "../loop.ts";
import { getpid } from "../process.ts";
import {
  bind,
  lastSender,
  localAddress,
  receiveFrom,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  sendTo,
  setSocketOption,
  socket,
  socketPair,
} from "../socket.ts";
import { Stream } from "../stream.ts";
import { utf8Decode, utf8Encode } from "../text.ts";
import { equal, ok, rejection, runTests, test } from "./harness.ts";

async function readToEnd(stream: Stream): Promise<number[]> {
  let size = 0;
  let sum = 0;
  for (let data = await stream.read(); data !== null; data = await stream.read()) {
    size += data.length;
    for (const byte of data) sum = (sum * 31 + byte) >>> 0;
  }
  return [size, sum];
}

function pair(loop: EventLoop): [Stream, Stream] {
  const [a, b] = socketPair(AF_UNIX, SOCK_STREAM);
  return [new Stream(loop, a), new Stream(loop, b)];
}

/** Small buffers of fixed size in the kernel, so that it cannot take a whole test's data at once. */
function limitBuffers(stream: Stream): void {
  const SO_SNDBUF = 7;
  const SO_RCVBUF = 8;
  for (const option of [SO_SNDBUF, SO_RCVBUF]) setSocketOption(stream.fd, SOL_SOCKET, option, 64 * 1024);
}

test("TCP: an echo of 4 MiB, with the writer held back by the reader", async (loop) => {
  const listener = listenTcp(loop, "127.0.0.1", 0, async (stream) => {
    limitBuffers(stream);
    for (let data = await stream.read(); data !== null; data = await stream.read()) await stream.write(data);
    stream.end();
    stream.close();
  });
  const client = await connectTcp(loop, "127.0.0.1", listener.port);
  limitBuffers(client);
  const data = new SeededRandom(1).fill(new Uint8Array(4 * 2 ** 20));
  let expected = 0;
  for (const byte of data) expected = (expected * 31 + byte) >>> 0;
  let written = false;
  const writing = client.write(data).then(() => {
    written = true;
    client.end();
  });
  await loop.sleep(50);
  equal(written, false, "4 MiB went into a socket nobody reads");
  ok(client.queuedBytes > 0, "nothing queued");
  equal(await readToEnd(client), [data.length, expected]);
  await writing;
  equal(await client.read(), null, "after the end");
  client.close();
  listener.close();
});

test("a queue longer than its limit refuses more", async (loop) => {
  const [a, b] = pair(loop);
  const first = a.write(new Uint8Array(2 ** 20));
  const error = await rejection(a.write(new Uint8Array(2 ** 20)));
  ok(error instanceof ThimbleError && error.code === "stream_overrun", String(error));
  const end = readToEnd(b);
  await first;
  a.close();
  equal((await end)[0], 2 ** 20);
  b.close();
});

test("half-open: what was sent before the end arrives, and answers still go back", async (loop) => {
  const [a, b] = pair(loop);
  await a.write(utf8Encode("question"));
  a.end();
  equal(utf8Decode((await b.read()) ?? new Uint8Array()), "question");
  equal(await b.read(), null);
  await b.write(utf8Encode("answer"));
  equal(utf8Decode((await a.read()) ?? new Uint8Array()), "answer");
  const error = await rejection(a.write(utf8Encode("more")));
  ok(error instanceof ThimbleError && error.code === "stream_closed", String(error));
  a.close();
  b.close();
});

test("closing ends a waiting read and rejects waiting writes", async (loop) => {
  const [a, b] = pair(loop);
  let closed = 0;
  a.onClose = () => closed++;
  const reading = a.read();
  const writing = rejection(a.write(new Uint8Array(4 * 2 ** 20)));
  a.close();
  a.close();
  equal(await reading, null);
  equal((await writing) instanceof ThimbleError, true);
  equal(closed, 1);
  equal(await a.read(), null);
  b.close();
});

test("writing to a peer that is gone fails with EPIPE", async (loop) => {
  const [a, b] = pair(loop);
  b.close();
  const error = await rejection(a.write(Uint8Array.of(1)));
  ok(error instanceof SystemError && error.errno === EPIPE, String(error));
  a.close();
});

test("a reset reaches the waiting reader", async (loop) => {
  let served: Stream | null = null;
  const listener = listenTcp(loop, "127.0.0.1", 0, (stream) => {
    served = stream;
  });
  const client = await connectTcp(loop, "127.0.0.1", listener.port);
  while (served === null) await loop.sleep(1);
  const server = served as Stream;
  const SO_LINGER = 13;
  setSocketOption(server.fd, SOL_SOCKET, SO_LINGER, new Uint8Array(Int32Array.of(1, 0).buffer));
  const error = rejection(client.read());
  server.close();
  const thrown = await error;
  ok(thrown instanceof SystemError && thrown.errno === ECONNRESET, String(thrown));
  client.close();
  listener.close();
});

test("connecting where nobody listens is refused", async (loop) => {
  const listener = listenTcp(loop, "127.0.0.1", 0, () => {});
  const port = listener.port;
  listener.close();
  const error = await rejection(connectTcp(loop, "127.0.0.1", port));
  ok(error instanceof SystemError && error.errno === ECONNREFUSED, String(error));
});

test("Unix sockets by path", async (loop) => {
  const path = `/tmp/thimble-socket-${getpid()}`;
  for (let i = 0; i < 2; i++) {
    const listener = listenUnix(loop, path, async (stream) => {
      await stream.write(utf8Encode("hello"));
      stream.close();
    });
    const client = await connectUnix(loop, path);
    equal(utf8Decode((await client.read()) ?? new Uint8Array()), "hello");
    equal(await client.read(), null);
    client.close();
    listener.close(); // leaves the path behind, which the second round replaces
  }
  bridge.syscall(87, utf8Encode(`${path}\0`));
});

test("UDP datagrams come with their sender", async (loop) => {
  const a = socket(AF_INET, SOCK_DGRAM);
  const b = socket(AF_INET, SOCK_DGRAM);
  bind(a, inetAddress("127.0.0.1", 0));
  bind(b, inetAddress("127.0.0.1", 0));
  const target = new Uint8Array(100);
  equal(receiveFrom(b, target), -EAGAIN);
  equal(sendTo(a, utf8Encode("datagram"), localAddress(b)), 8);
  await loop.sleep(1);
  equal(receiveFrom(b, target), 8);
  equal(utf8Decode(target.subarray(0, 8)), "datagram");
  equal(formatAddress(lastSender()), formatAddress(localAddress(a)));
  close(a);
  close(b);
});

test("a hundred connections at once, and no descriptor left", async (loop) => {
  const before = readDirectory("/proc/self/fd").length;
  const listener = listenTcp(loop, "127.0.0.1", 0, async (stream) => {
    const data = await stream.read();
    if (data !== null) await stream.write(data);
    stream.close();
  });
  const one = async (i: number) => {
    const client = await connectTcp(loop, "127.0.0.1", listener.port);
    await client.write(utf8Encode(`client ${i}`));
    equal(utf8Decode((await client.read()) ?? new Uint8Array()), `client ${i}`);
    equal(await client.read(), null);
    client.close();
  };
  await Promise.all(Array.from({ length: 100 }, (_, i) => one(i)));
  listener.close();
  equal(readDirectory("/proc/self/fd").length, before);
});

runTests();
