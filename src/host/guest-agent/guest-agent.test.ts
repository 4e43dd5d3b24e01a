/** The host's side of the guest agent protocol against guests of all kinds, over real Unix sockets. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, test } from "node:test";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { eventually } from "../../rig/time.ts";
import { nodePlatform } from "../testing/test-platform.ts";
import { addressesOf } from "./facts.ts";
import { GuestAgent } from "./guest-agent.ts";
import { LINE_MAX, Lines } from "./lines.ts";
import { printable } from "./session.ts";

type Request = {
  readonly execute: string;
  readonly arguments?: { readonly id?: number; readonly mode?: string };
};
/** What a guest answers; null: nothing. */
type Behaviour = (request: Request, socket: Socket) => object | string | null;

const PATIENCE_MS = 10_000;
const directory = mkdtempSync(join(tmpdir(), "thimble-agent-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
let made = 0;

const honest: Record<string, unknown> = {
  "guest-fsfreeze-status": "thawed",
  "guest-fsfreeze-freeze": 2,
  "guest-fsfreeze-thaw": 2,
  "guest-info": { version: "7.2.0" },
  "guest-get-host-name": { "host-name": "web\u001b[31m" },
  "guest-get-osinfo": { "pretty-name": "Debian GNU/Linux 12" },
  "guest-network-get-interfaces": [
    { name: "lo", "ip-addresses": [{ "ip-address": "127.0.0.1" }] },
    { name: "eth0", "ip-addresses": [{ "ip-address": "10.0.2.20" }, { "ip-address": "fe80::1" }] },
    { name: "eth1" },
  ],
};
const goodAnswer: Behaviour = ({ execute }) =>
  execute in honest
    ? { return: honest[execute] }
    : { error: { class: "CommandNotFound", desc: `no ${execute}` } };

/** A guest with an agent, and the host's end of its channel. */
class Peer {
  readonly asked: string[] = [];
  readonly lines: string[] = [];
  connections = 0;
  readonly agent: GuestAgent;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(answer: Behaviour, sync: (id: number) => string | Uint8Array = syncAnswer) {
    const path = join(directory, `${++made}.sock`);
    this.#server = createServer((socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on("error", () => {});
      let rest = "";
      socket.on("data", (bytes) => {
        rest += bytes.toString("latin1");
        for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
          const request = JSON.parse(rest.slice(rest.lastIndexOf("\xff", end) + 1, end)) as Request;
          rest = rest.slice(end + 1);
          this.asked.push(request.execute);
          if (request.execute === "guest-sync-delimited") {
            socket.write(sync(request.arguments?.id as number));
            continue;
          }
          const reply = answer(request, socket);
          if (reply !== null) socket.write(typeof reply === "string" ? reply : `${JSON.stringify(reply)}\n`);
        }
      });
    }).listen(path);
    this.agent = new GuestAgent(nodePlatform(this.lines), path);
    open.push(this);
  }

  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.agent.close();
    this.drop();
    this.#server.close();
  }

  async connected(): Promise<void> {
    await eventually(PATIENCE_MS, "the connection", async () => (this.agent.isConnected ? true : undefined));
  }
}

const open: Peer[] = [];
const syncAnswer = (id: number) => Buffer.concat([Buffer.of(0xff), Buffer.from(`{"return": ${id}}\n`)]);

afterEach(() => {
  for (const peer of open.splice(0)) peer.close();
});

const shows = (peer: Peer, what: string, isSo: (view: GuestAgent["view"]) => boolean) =>
  eventually(PATIENCE_MS, what, async () => (isSo(peer.agent.view) ? peer.agent.view : undefined));

describe("the guest agent's client", () => {
  test("shows what an agent says of its guest", async () => {
    const peer = new Peer(goodAnswer);
    const view = await shows(peer, "facts", ({ version }) => version !== undefined);
    assert.deepEqual(view, {
      connected: true,
      version: "7.2.0",
      hostName: "web[31m",
      osName: "Debian GNU/Linux 12",
      addresses: [
        { interface: "eth0", address: "10.0.2.20" },
        { interface: "eth0", address: "fe80::1" },
      ],
    });
    assert.equal(peer.asked[0], "guest-sync-delimited");
  });

  test("finds its answer behind what an agent had to say to somebody else, cut anywhere", async () => {
    const stale = (id: number) =>
      Buffer.concat([
        Buffer.from(`{"return": 7}\nhalf`),
        syncAnswer(id ^ 1),
        Buffer.from("\n\n"),
        syncAnswer(id),
      ]);
    const peer = new Peer(goodAnswer, stale);
    await shows(peer, "facts", ({ version }) => version !== undefined);
  });

  test("freezes, and thaws when told or when the time is over", async () => {
    const peer = new Peer(goodAnswer);
    await peer.connected();
    assert.equal(await peer.agent.freeze(PATIENCE_MS), 2);
    assert.equal(peer.agent.view.frozen, true);
    await assert.rejects(peer.agent.freeze(1), { code: "guest_frozen" });
    assert.equal(await peer.agent.thaw(), 2);
    assert.equal(peer.agent.view.frozen, undefined);
    await peer.agent.freeze(50);
    await shows(peer, "the thaw", ({ frozen }) => frozen === undefined);
    assert.equal(peer.asked.filter((name) => name === "guest-fsfreeze-thaw").length, 2);
  });

  test("thaws after a freeze that failed half-way, and a guest that a dead agent of the host left frozen", async () => {
    const refused = new Peer((request, socket) =>
      request.execute === "guest-fsfreeze-freeze" ? { error: { desc: "busy" } } : goodAnswer(request, socket),
    );
    await refused.connected();
    await assert.rejects(refused.agent.freeze(PATIENCE_MS), { code: "guest_refused", message: /busy/ });
    await shows(refused, "the thaw", ({ frozen }) => frozen === undefined);
    assert.ok(refused.asked.includes("guest-fsfreeze-thaw"));

    const stray = new Peer((request, socket) =>
      request.execute === "guest-fsfreeze-status" ? { return: "frozen" } : goodAnswer(request, socket),
    );
    await eventually(PATIENCE_MS, "thaw", async () =>
      stray.asked.includes("guest-fsfreeze-thaw") ? true : undefined,
    );
  });

  test("a guest that starts anew while it is frozen is frozen no more", async () => {
    const peer = new Peer(goodAnswer);
    await peer.connected();
    await peer.agent.freeze(600_000);
    peer.drop();
    await shows(peer, "the agent's return", ({ frozen }) => peer.connections > 1 && frozen === undefined);
    await peer.connected();
  });

  test("silence is consent to a shutdown, and a refusal is one", async () => {
    const told: (string | undefined)[] = [];
    const peer = new Peer((request, socket) => {
      if (request.execute !== "guest-shutdown") return goodAnswer(request, socket);
      told.push(request.arguments?.mode);
      return told.length === 1 ? { error: { class: "GenericError", desc: "not today" } } : null;
    });
    await peer.connected();
    await assert.rejects(peer.agent.shutdown(), { code: "guest_refused", message: /not today/ });
    await peer.agent.shutdown();
    assert.deepEqual(told, ["powerdown", "powerdown"]);
  });

  test("requests wait for each other, so many and no more", async () => {
    const peer = new Peer(({ execute }) => (execute === "guest-fsfreeze-thaw" ? null : { return: "thawed" }));
    await peer.connected();
    await shows(peer, "no more questions", () => peer.asked.length >= 5);
    const all = Array.from({ length: 30 }, () => peer.agent.thaw());
    const codes = all.map((one) => one.catch((error: { code?: unknown }) => error.code));
    await eventually(PATIENCE_MS, "a thaw", async () =>
      peer.asked.includes("guest-fsfreeze-thaw") ? true : undefined,
    );
    peer.drop();
    const seen = await Promise.all(codes);
    assert.equal(seen.filter((code) => code === "guest_agent_busy").length, 22);
    assert.equal(seen.filter((code) => code === "guest_agent_gone").length, 8);
    assert.equal(peer.asked.filter((name) => name === "guest-fsfreeze-thaw").length, 1);
  });
});

describe("a hostile guest", () => {
  const deep = "[".repeat(100) + "]".repeat(100);
  const breaches: Record<string, string> = {
    "an answer too deep": `{"return": ${deep}}\n`,
    "no JSON": "hello\n",
    "a JSON text that is no answer": "[1]\n",
    "an answer without end": "x".repeat(LINE_MAX + 1),
    "two answers for one": `{"return": {}}\n{"return": {}}\n`.repeat(20),
  };
  for (const [name, bytes] of Object.entries(breaches)) {
    test(`${name} ends the conversation, and the next begins later`, async () => {
      const peer = new Peer(() => bytes);
      await eventually(PATIENCE_MS, "the next connection", async () =>
        peer.connections > 1 ? true : undefined,
      );
      assert.match(peer.lines.join(), /broke the protocol's rules/);
      await peer.agent.freeze(1).catch(() => {});
    });
  }

  test("a flood before the first answer ends, too", async () => {
    const peer = new Peer(goodAnswer, () => Buffer.from("x\n".repeat(1024 * 1024)));
    await eventually(PATIENCE_MS, "the next connection", async () =>
      peer.connections > 1 ? true : undefined,
    );
    assert.equal(peer.agent.isConnected, false);
  });

  test("one that hangs up again and again is waited for longer and longer", async () => {
    const peer = new Peer((_request, socket) => {
      socket.destroy();
      return null;
    });
    await eventually(PATIENCE_MS, "three connections", async () =>
      peer.connections >= 3 ? true : undefined,
    );
    const before = peer.connections;
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.ok(peer.connections - before <= 1);
  });

  test("answers of odd types show as nothing, in any mixture", async () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const odd = (depth: number): unknown =>
      random.pick([
        () => null,
        () => random.u32(),
        () => "\u202e\u0000",
        () => "a".repeat(10_000),
        () => [],
        () => (depth > 3 ? 0 : Array.from({ length: random.below(5) }, () => odd(depth + 1))),
        () =>
          depth > 3 ? 0 : { name: odd(depth + 1), "ip-addresses": odd(depth + 1), "ip-address": "1.2.3.4" },
        () => ({
          name: "e",
          "ip-addresses": Array.from({ length: 100 }, () => ({ "ip-address": "1.2.3.4" })),
        }),
        () => ({ version: odd(depth + 1), "host-name": odd(depth + 1), "pretty-name": odd(depth + 1) }),
      ])();
    for (let i = 0; i < 3000; i++) {
      const value = odd(0);
      const addresses = addressesOf(value);
      assert.ok(addresses === null || addresses.length <= 64, `seed ${seed}`);
      for (const { interface: name } of addresses ?? []) assert.ok(name.length <= 128, `seed ${seed}`);
      const text = printable(value, 128);
      assert.ok(
        text === null || (text.length <= 128 && !text.includes("\u202e") && !text.includes("\0")),
        `seed ${seed}`,
      );
    }
    const peer = new Peer(() => ({ return: odd(0) }));
    await peer.connected();
    await peer.agent.refresh(PATIENCE_MS);
    assert.ok(JSON.stringify(peer.agent.view).length < 20_000);
  });

  test("lines come out whole however they are cut, and what they take is bounded", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const sent = Array.from({ length: 50 }, () =>
      random.fill(new Uint8Array(random.below(9000))).map((b) => b | 0x20),
    );
    const bytes = Buffer.concat(sent.flatMap((line) => [line, Buffer.of(0x0a)]));
    const seen: Uint8Array[] = [];
    const lines = new Lines();
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + random.below(random.pick([3, 5000]));
      assert.ok(lines.take(bytes.subarray(at, at + size), (line) => seen.push(line.slice())));
      at += size;
    }
    assert.deepEqual(
      seen.map((line) => [...line]),
      sent.map((line) => [...line]),
      `seed ${seed}`,
    );
    const piece = new Uint8Array(1).fill(0x41);
    let taken = 0;
    while (lines.take(piece, () => {})) taken++;
    assert.equal(taken, LINE_MAX);
  });
});
