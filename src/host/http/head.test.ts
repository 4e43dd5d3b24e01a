import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { RequestError } from "./errors.ts";
import {
  HEAD_SIZE_MAX,
  HEADER_COUNT_MAX,
  HeadParser,
  headerList,
  headerOf,
  type RequestHead,
  TARGET_LENGTH_MAX,
} from "./head.ts";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

/** Feeds a text in pieces that end at the given positions. */
function parse(text: string, ...cuts: number[]): { head: RequestHead | null; rest: string } {
  const parser = new HeadParser();
  const input = bytes(text);
  let start = 0;
  for (const end of [...cuts, input.length]) {
    const rest = parser.feed(input.subarray(start, end));
    if (rest !== null) {
      return { head: parser.head, rest: Buffer.concat([rest, input.subarray(end)]).toString("latin1") };
    }
    start = end;
  }
  return { head: null, rest: "" };
}

const GET = "GET /api/v1/vms?x=1 HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two:\t2 , 3 \r\n\r\n";

function refused(text: string, status: number): void {
  assert.throws(
    () => {
      const { head } = parse(text);
      assert.fail(`accepted: ${JSON.stringify(head)} for ${JSON.stringify(text)}`);
    },
    (error) => error instanceof RequestError && error.status === status,
    JSON.stringify(text),
  );
}

describe("request heads", () => {
  test("are the same wherever the bytes are cut, and leave what follows alone", () => {
    const whole = parse(`${GET}next`);
    assert.equal(whole.rest, "next");
    assert.equal(whole.head?.method, "GET");
    assert.equal(whole.head?.target, "/api/v1/vms?x=1");
    assert.deepEqual(headerList(whole.head as RequestHead, "x-two"), ["1", "2", "3"]);
    const text = `\r\n${GET}next`;
    for (let i = 1; i < text.length; i++) {
      for (const j of [i, Math.min(i + 1, text.length), Math.min(i + 7, text.length)]) {
        assert.deepEqual(parse(text, i, j), whole, `cut at ${i}, ${j}`);
      }
    }
  });

  test("know how the body ends", () => {
    const framing = (fields: string) => parse(`PUT / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`).head?.framing;
    assert.deepEqual(framing(""), { kind: "none" });
    assert.deepEqual(framing("Content-Length: 0\r\n"), { kind: "none" });
    assert.deepEqual(framing("Content-Length: 17\r\n"), { kind: "length", lengthBytes: 17 });
    assert.deepEqual(framing("Transfer-Encoding: Chunked\r\n"), { kind: "chunked" });
  });

  test("know whether the connection goes on", () => {
    const keepAlive = (line: string) => parse(`GET / ${line}\r\n\r\n`).head?.keepAlive;
    assert.equal(keepAlive("HTTP/1.1\r\nHost: a"), true);
    assert.equal(keepAlive("HTTP/1.1\r\nHost: a\r\nConnection: x, Close"), false);
    assert.equal(keepAlive("HTTP/1.0"), false);
    assert.equal(keepAlive("HTTP/1.0\r\nConnection: keep-alive"), true);
  });

  test("may give the path with a host before it", () => {
    assert.equal(parse("GET http://h:80/x?y HTTP/1.1\r\nHost: h\r\n\r\n").head?.target, "/x?y");
  });

  test("that are ambiguous or malformed are refused", () => {
    const line = (text: string) => `${text}\r\nHost: a\r\n\r\n`;
    const field = (text: string) => `PUT / HTTP/1.1\r\nHost: a\r\n${text}\r\n\r\n`;
    for (const text of [
      "GET / HTTP/1.1\nHost: a\n\n",
      "\nGET / HTTP/1.1\r\n",
      line("GET  / HTTP/1.1"),
      line("GET / HTTP/1.1 "),
      line(" GET / HTTP/1.1"),
      line("GET /"),
      line("GET / http/1.1"),
      line("G=T / HTTP/1.1"),
      line("GET * HTTP/1.1"),
      line("GET x HTTP/1.1"),
      line("GET /%2 HTTP/1.1"),
      line("GET /%zz HTTP/1.1"),
      line('GET /" HTTP/1.1'),
      line("GET /\x01 HTTP/1.1"),
      line("GET /\xff HTTP/1.1"),
      line("GET /a#b HTTP/1.1"),
      "GET / HTTP/1.1\r\n\r\n",
      field("Content-Length: 1\r\nContent-Length: 1"),
      field("Content-Length: 1, 1"),
      field("Content-Length: +1"),
      field("Content-Length: 0x10"),
      field("Content-Length: -1"),
      field("Content-Length:"),
      field("Content-Length: 5\r\nTransfer-Encoding: chunked"),
      field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
      field("Host: b"),
      field("X : 1"),
      field(" folded"),
      field("X: 1\r\n\tfolded"),
      field("no colon"),
      field(": no name"),
      field("X: a\0b"),
      field("X: a\rb"),
      field("X\x80: a"),
      "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
      "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n",
    ]) {
      refused(text, 400);
    }
    refused(line("BREW / HTTP/1.1"), 501);
    refused(line("CONNECT / HTTP/1.1"), 501);
    refused(line("GET / HTTP/2.0"), 505);
    refused(field("Transfer-Encoding: gzip, chunked"), 501);
    refused(field("Transfer-Encoding: identity"), 501);
    refused(field("Expect: tea"), 417);
    refused(field("Content-Length: 1000000000000000"), 413);
  });

  test("have limits", () => {
    refused(`GET /${"x".repeat(TARGET_LENGTH_MAX)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414);
    refused(`GET /${"x".repeat(HEAD_SIZE_MAX)}`, 414);
    refused(`GET / HTTP/1.1\r\nX: ${"x".repeat(HEAD_SIZE_MAX)}`, 431);
    refused(`GET / HTTP/1.1\r\nHost: a\r\n${"a: b\r\n".repeat(HEADER_COUNT_MAX)}\r\n`, 431);
    assert.equal(
      parse(`GET / HTTP/1.1\r\nHost: a\r\n${"a: b\r\n".repeat(HEADER_COUNT_MAX - 1)}\r\n`).rest,
      "",
    );
  });

  test("of generated bytes never give anything but a head or a RequestError", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    const parts = [
      GET,
      "\r\n",
      "\n",
      "\r",
      ":",
      " ",
      "\0",
      "\xff",
      "HTTP/1.1",
      "Content-Length: 5",
      "chunked",
      "%41",
    ];
    for (let round = 0; round < 3000; round++) {
      let text = "";
      for (let i = random.below(12); i >= 0; i--) {
        const part = random.pick(parts);
        text += part.slice(0, random.below(part.length + 1));
      }
      const cut = random.below(text.length + 1);
      const results = [() => parse(text), () => parse(text, cut)].map((run) => {
        try {
          return JSON.stringify(run().head);
        } catch (error) {
          assert.ok(error instanceof RequestError, `seed ${seed}: ${error}`);
          return `${error.status} ${error.code}`;
        }
      });
      assert.equal(
        results[0],
        results[1],
        `seed ${seed}, round ${round}, cut ${cut}: ${JSON.stringify(text)}`,
      );
    }
  });

  test("give header fields by name", () => {
    const { head } = parse(GET);
    assert.equal(headerOf(head as RequestHead, "host"), "a");
    assert.equal(headerOf(head as RequestHead, "none"), null);
  });
});
