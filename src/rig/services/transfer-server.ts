/**
 * Bulk data over TCP on loopback ports of this machine, for guests: one port gives bytes, one takes them.
 *
 * The bytes are a key stream (AES-CTR over zeros): cheap to make, never repeating, so that a lost, doubled or moved
 * piece changes the digest.
 */
import { createCipheriv, createHash } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { Readable } from "node:stream";

const chunkBytes = 1024 * 1024;

export interface TransferServer {
  /** Sends `sizeBytes` bytes to whoever connects, then closes. */
  readonly sourcePort: number;
  /** Takes bytes until the sender is done, then answers with their MD5 digest in hex and a newline. */
  readonly sinkPort: number;
  /** MD5 digest of what the source sends. */
  readonly sourceDigest: string;
  stop(): Promise<void>;
}

function* keyStream(sizeBytes: number): Generator<Buffer> {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, 1), Buffer.alloc(16));
  const zeros = Buffer.alloc(chunkBytes);
  for (let sent = 0; sent < sizeBytes; sent += chunkBytes) {
    yield cipher.update(zeros.subarray(0, Math.min(chunkBytes, sizeBytes - sent)));
  }
}

async function listen(serve: (socket: Socket) => void): Promise<Server> {
  // A client that has sent everything still wants to read the answer.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    serve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Starts both ports. */
export async function startTransferServer(sizeBytes: number): Promise<TransferServer> {
  const sockets = new Set<Socket>();
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  };
  const source = await listen((socket) => {
    track(socket);
    socket.resume();
    Readable.from(keyStream(sizeBytes)).pipe(socket);
  });
  const sink = await listen((socket) => {
    track(socket);
    const digest = createHash("md5");
    socket.on("data", (bytes) => digest.update(bytes));
    socket.on("end", () => socket.end(`${digest.digest("hex")}\n`));
  });
  const digest = createHash("md5");
  for (const chunk of keyStream(sizeBytes)) digest.update(chunk);
  return {
    sourcePort: (source.address() as AddressInfo).port,
    sinkPort: (sink.address() as AddressInfo).port,
    sourceDigest: digest.digest("hex"),
    async stop() {
      for (const socket of sockets) socket.destroy();
      source.close();
      sink.close();
      await Promise.all([once(source, "close"), once(sink, "close")]);
    },
  };
}
