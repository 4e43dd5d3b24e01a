import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { test } from "node:test";
import { startTransferServer } from "./transfer-server.ts";

async function readAll(port: number, send?: Buffer): Promise<Buffer> {
  const socket = connect({ port, host: "127.0.0.1" });
  if (send === undefined) socket.end();
  else socket.end(send);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test("the source sends what its digest says, the sink tells what it got", async () => {
  const sizeBytes = 3_000_001;
  const server = await startTransferServer(sizeBytes);
  try {
    const received = await readAll(server.sourcePort);
    assert.equal(received.length, sizeBytes);
    assert.equal(createHash("md5").update(received).digest("hex"), server.sourceDigest);
    assert.equal((await readAll(server.sinkPort, received)).toString().trim(), server.sourceDigest);
  } finally {
    await server.stop();
  }
});
