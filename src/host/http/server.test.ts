/** The server against rude clients, over loopback sockets: the real agent behind it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { eventually, sleep } from "../../rig/time.ts";
import { SHORT_LIMITS, TestAgent } from "../testing/test-agent.ts";

describe("rude clients", () => {
  let host: TestAgent;
  let auth: string;
  before(async () => {
    host = await TestAgent.start({ limits: SHORT_LIMITS });
    auth = `Host: h\r\nAuthorization: Bearer ${host.agent.token}\r\n`;
  });
  after(() => host.remove());

  const noConnections = () =>
    eventually(5000, "the end of all connections", async () => {
      host.api.close();
      return host.agent.connectionCount === 0 ? true : undefined;
    });
  const closed = async (socket: Socket) => {
    socket.resume();
    await Promise.race([once(socket, "close"), once(socket, "end")]);
    socket.destroy();
  };

  test("half an upload leaves nothing, whether the client vanishes, ends or stalls", async () => {
    const head = `PUT /api/v1/images/half HTTP/1.1\r\n${auth}Content-Length: 1000000\r\n\r\n`;
    for (const leave of [(s: Socket) => s.resetAndDestroy(), (s: Socket) => s.end(), () => {}]) {
      const socket = host.connect();
      socket.write(head);
      socket.write(randomBytes(100_000));
      await eventually(5000, "the upload", async () => (host.imageFiles().length === 1 ? true : undefined));
      const gone = closed(socket);
      leave(socket);
      await eventually(5000, "its end", async () => (host.imageFiles().length === 0 ? true : undefined));
      socket.destroy();
      await gone;
    }
    await noConnections();
  });

  test("a malformed chunk ends an upload with 400", async () => {
    const answer = await host.exchange(
      `PUT /api/v1/images/half HTTP/1.1\r\n${auth}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n`,
    );
    assert.match(answer, /^HTTP\/1\.1 400 .*bad_chunk/s);
    assert.deepEqual(host.imageFiles(), []);
  });

  test("pipelined requests are answered in order", async () => {
    const get = (path: string) => `GET /api/v1/${path} HTTP/1.1\r\n${auth}\r\n`;
    const post = `POST /api/v1/images HTTP/1.1\r\n${auth}Content-Length: 2\r\n\r\n{}`;
    const last = `GET /api/v1/images HTTP/1.1\r\n${auth}Connection: close\r\n\r\n`;
    const answer = await host.exchange(get("vms") + post + get("none") + last);
    const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
    assert.deepEqual(statuses, ["200", "400", "404", "200"]);
  });

  test("a body that nobody wants is not waited for", async () => {
    const answer = await host.exchange(
      `POST /api/v1/none HTTP/1.1\r\n${auth}Content-Length: 1000000\r\n\r\nx`,
    );
    assert.match(answer, /^HTTP\/1\.1 404 .*connection: close/s);
  });

  test("a slow or silent client is closed", async () => {
    for (const text of ["", "GET /api", "GET / HTTP/1.1\r\nHost:", "\r\n"]) {
      const socket = host.connect();
      socket.write(text);
      await closed(socket);
    }
    await noConnections();
  });

  test("a client that takes nothing of a download is closed", async () => {
    await host.api.uploadImage("large", Buffer.alloc(20_000_000));
    const socket = host.connect();
    socket.pause();
    socket.write(`GET /api/v1/images/large/content HTTP/1.1\r\n${auth}\r\n`);
    await eventually(5000, "the connection", async () => (host.agent.connectionCount > 0 ? true : undefined));
    await noConnections();
    socket.destroy();
    await host.api.deleteImage("large");
  });

  test("HTTP/1.0 and HEAD are answered without a body that they cannot read", async () => {
    const old = await host.exchange(`GET /api/v1/vms HTTP/1.0\r\n${auth}\r\n`);
    assert.match(old, /connection: close\r\n\r\n\{"items":\[\]\}$/);
    const head = await host.exchange(`HEAD /api/v1/vms HTTP/1.1\r\n${auth}Connection: close\r\n\r\n`);
    assert.match(head, /^HTTP\/1\.1 200 .*\r\n\r\n$/s);
  });

  test("bad requests are refused, and never accepted as something else", async () => {
    const cases: readonly (readonly [string, RegExp])[] = [
      [`GET /api/v1/vms HTTP/1.1\r\n${auth}X: ${"x".repeat(20_000)}\r\n\r\n`, /^HTTP\/1\.1 431/],
      [`GET /${"x".repeat(5000)} HTTP/1.1\r\n${auth}\r\n`, /^HTTP\/1\.1 414/],
      ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", /^HTTP\/1\.1 400/],
      [
        `GET /api/v1/vms HTTP/1.1\r\n${auth}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n`,
        /^HTTP\/1\.1 400/,
      ],
    ];
    for (const [text, expected] of cases) assert.match(await host.exchange(text), expected);
    for (const name of [
      "..%2Fescape",
      ".hidden",
      "a%00b",
      "x".repeat(65),
      "sp%20ace",
      "..",
      "a%2fb",
      "%2e%2e",
    ]) {
      for (const [method, path] of [
        ["PUT", name],
        ["DELETE", name],
        ["GET", `${name}/content`],
      ] as const) {
        const answer = await host.api.raw(method, `/images/${path}`);
        assert.ok([400, 404].includes(answer.status), `${method} ${path}: ${answer.status}`);
      }
    }
    assert.deepEqual(host.imageFiles(), []);
  });

  test("generated descriptions of VMs are refused or kept whole, and never harm the host", async () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const good = await host.spec();
    const { kernel } = good.boot as { kernel: string };
    const values: readonly unknown[] = [
      null,
      true,
      0,
      -1,
      1.5,
      1e300,
      "",
      "x",
      "../x",
      "\0",
      "ü",
      [],
      {},
      [[]],
      [{}],
      [null],
      { image: 1 },
      kernel,
      { kernel: kernel },
      2 ** 26,
      "a".repeat(3000),
      [{ image: kernel }],
    ];
    const keys = [
      "name",
      "cpus",
      "memoryBytes",
      "boot",
      "disks",
      "networks",
      "__proto__",
      "constructor",
      "extra",
    ];
    for (let round = 0; round < 300; round++) {
      const spec: Record<string, unknown> = { ...good };
      for (let i = random.below(3); i >= 0; i--) {
        Object.defineProperty(spec, random.pick(keys), {
          value: random.pick(values),
          enumerable: true,
          configurable: true,
        });
      }
      let text = JSON.stringify(spec);
      if (random.below(4) === 0) text = text.slice(0, random.below(text.length));
      const body = Buffer.from(text);
      const answer = await host.api.raw("POST", "/vms", {
        headers: { "content-length": String(body.length) },
        body,
      });
      const context = `seed ${seed}, round ${round}: ${text.slice(0, 300)} gave ${answer.status} ${answer.body}`;
      if (answer.status === 201) {
        await host.api.deleteVm((JSON.parse(answer.body.toString()) as { id: string }).id);
      } else {
        assert.equal(answer.status, 400, context);
        assert.match(answer.body.toString(), /^\{"error":\{"code":"[a-z_]+","message":"\S.{10,}/, context);
      }
    }
    assert.deepEqual(await host.api.vms(), []);
  });

  test("nested and large JSON is refused", async () => {
    for (const [body, status] of [
      ["[".repeat(50_000), 400],
      [`{"name":"${"x".repeat(300_000)}"}`, 413],
    ] as const) {
      const headers = { "content-length": String(body.length) };
      const answer = await host.api.raw("POST", "/vms", { headers, body: Buffer.from(body) });
      assert.equal(answer.status, status);
    }
  });

  test("a console is opened only by a proper handshake, and closed for misuse", async () => {
    const vm = await host.api.createVm(await host.spec());
    await host.api.act(vm.id, "start");
    const path = `/api/v1/vms/${vm.id}/console`;
    assert.equal((await host.api.raw("GET", `/vms/${vm.id}/console`)).status, 426);
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const bad = await host.exchange(
      `GET ${path} HTTP/1.1\r\n${auth}${upgrade}Sec-WebSocket-Version: 13\r\n\r\n`,
    );
    assert.match(bad, /^HTTP\/1\.1 400/);
    const old = await host.exchange(
      `GET ${path} HTTP/1.1\r\n${auth}${upgrade}${key}Sec-WebSocket-Version: 8\r\n\r\n`,
    );
    assert.match(old, /^HTTP\/1\.1 426 .*sec-websocket-version: 13/s);
    // RFC 6455, 1.3 has this key and its answer; an unmasked frame follows at once.
    const misuse = await host.exchange(
      `GET ${path} HTTP/1.1\r\n${auth}${upgrade}${key}Sec-WebSocket-Version: 13\r\n\r\n\x81\x01x`,
    );
    assert.match(misuse, /^HTTP\/1\.1 101 .*Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/s);

    const socket = new WebSocket(`ws://127.0.0.1:${host.agent.port}${path}`, {
      headers: { authorization: `Bearer ${host.agent.token}` },
    });
    await once(socket, "open");
    const pong = once(socket, "pong");
    socket.ping("sign of life");
    assert.equal(String((await pong)[0]), "sign of life");
    socket.send(Buffer.alloc(70_000));
    assert.equal((await once(socket, "close"))[0], 1009);
    await host.api.act(vm.id, "force-off");
    await host.api.deleteVm(vm.id);
    await noConnections();
  });

  test("a flood of connections does not keep the others out for good", async () => {
    const sockets = Array.from({ length: 80 }, () => host.connect());
    await Promise.all(sockets.map((socket) => once(socket, "connect")));
    await sleep(50);
    assert.ok(host.agent.connectionCount <= 64);
    for (const socket of sockets) socket.destroy();
    await noConnections();
    assert.deepEqual(await host.api.images().then((images) => images.length), 1);
  });
});
