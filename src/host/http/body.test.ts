import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SeededRandom, testSeed } from "../../base/random.ts";
import { BodyDecoder } from "./body.ts";
import { RequestError } from "./errors.ts";
import type { BodyFraming } from "./head.ts";

interface Decoded {
  readonly body: string;
  readonly done: boolean;
  /** What follows the body. */
  readonly rest: string;
}

function decode(framing: BodyFraming, text: string, ...cuts: number[]): Decoded {
  const decoder = new BodyDecoder(framing);
  const input = new Uint8Array(Buffer.from(text, "latin1"));
  let body = "";
  let start = 0;
  for (const end of [...cuts, input.length]) {
    for (let piece = input.subarray(start, end); piece.length > 0 && !decoder.done; ) {
      body += Buffer.from(decoder.decode(piece) ?? []).toString("latin1");
      start += decoder.used;
      piece = piece.subarray(decoder.used);
    }
    if (decoder.done) break;
  }
  return { body, done: decoder.done, rest: Buffer.from(input.subarray(start)).toString("latin1") };
}

const chunked: BodyFraming = { kind: "chunked" };

describe("bodies", () => {
  test("without one are done at once", () => {
    assert.deepEqual(decode({ kind: "none" }, "next"), { body: "", done: true, rest: "next" });
  });

  test("of known length end there, wherever the bytes are cut", () => {
    for (let cut = 0; cut <= 9; cut++) {
      const result = decode({ kind: "length", lengthBytes: 5 }, "helloGET ", cut);
      assert.deepEqual(result, { body: "hello", done: true, rest: "GET " }, `cut at ${cut}`);
    }
    assert.equal(decode({ kind: "length", lengthBytes: 5 }, "hell").done, false);
  });

  test("in chunks are the same wherever the bytes are cut", () => {
    const text = '5\r\nhello\r\nA;name="v"\r\n, a\nworld!\r\n00\r\nTrailer: x\r\n\r\nnext';
    const whole = decode(chunked, text);
    assert.deepEqual(whole, { body: "hello, a\nworld!", done: true, rest: "next" });
    for (let i = 0; i <= text.length; i++) {
      for (let j = i; j <= Math.min(i + 12, text.length); j++)
        assert.deepEqual(decode(chunked, text, i, j), whole);
    }
  });

  test("in malformed chunks are refused", () => {
    for (const text of [
      "x\r\n",
      "\r\n",
      "-1\r\n",
      "0x5\r\n",
      " 5\r\n",
      "5 5\r\n",
      "5\nhello",
      "5\r\r\n",
      "5\r\nhelloo",
      "5\r\nhello\n",
      "5\r\nhello\r\r\n",
      "5;\0\r\n",
      "1000000000000\r\n",
      `5;${"x".repeat(300)}`,
      `0\r\n${"a: b\r\n".repeat(1000)}`,
    ]) {
      assert.throws(() => decode(chunked, text), RequestError, JSON.stringify(text));
    }
  });

  test("in generated chunks come back as they were", () => {
    const seed = testSeed();
    const random = new SeededRandom(seed);
    for (let round = 0; round < 200; round++) {
      let body = "";
      let text = "";
      for (let i = random.below(6); i > 0; i--) {
        const piece = Buffer.from(random.fill(new Uint8Array(1 + random.below(40)))).toString("latin1");
        body += piece;
        text += `${piece.length.toString(16)}\r\n${piece}\r\n`;
      }
      text += "0\r\n\r\nnext";
      const cuts = Array.from({ length: 4 }, () => random.below(text.length)).sort((a, b) => a - b);
      assert.deepEqual(decode(chunked, text, ...cuts), { body, done: true, rest: "next" }, `seed ${seed}`);
    }
  });
});
