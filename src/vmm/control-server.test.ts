import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../base/random.ts";
import { LineSplitter, parseRequest } from "./control-server.ts";

test("lines come out whole, however the bytes arrive", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const lines = Array.from({ length: 30 }, (_, i) => "x".repeat(random.below(90)) + i);
  const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
  const splitter = new LineSplitter();
  const seen: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random.below(100);
    seen.push(...splitter.split(bytes.subarray(at, at + size)));
    at += size;
  }
  assert.deepEqual(seen, lines, `seed ${seed}`);
  assert.equal(splitter.overflown, false);
});

test("a line that is too long ends the connection, ended or not", () => {
  const endless = new LineSplitter();
  assert.deepEqual(endless.split(new Uint8Array(5000).fill(0x61)), []);
  assert.equal(endless.overflown, true);
  const ended = new LineSplitter();
  const bytes = new Uint8Array(5001).fill(0x61);
  bytes[5000] = 0x0a;
  assert.deepEqual(ended.split(bytes), []);
  assert.equal(ended.overflown, true);
});

test("requests are checked", () => {
  assert.deepEqual(parseRequest('{"id":3,"op":"reset"}'), { id: 3, op: "reset" });
  const keys = { id: 4, op: "sendKeys", chords: [[29, 56, 111], [30]] };
  assert.deepEqual(parseRequest(JSON.stringify(keys)), keys);
  for (const chords of [
    undefined,
    7,
    [],
    [[]],
    [[0]],
    [[128]],
    [[1.5]],
    [["a"]],
    [30],
    new Array(257).fill([1]),
    [new Array(9).fill(1)],
  ])
    assert.equal(typeof parseRequest(JSON.stringify({ ...keys, chords })), "string", `${chords}`);
  const balloon = { id: 5, op: "balloon", targetBytes: 4096 };
  assert.deepEqual(parseRequest(JSON.stringify(balloon)), balloon);
  for (const targetBytes of [undefined, -1, 0.5, "1", 2 ** 60])
    assert.equal(
      typeof parseRequest(JSON.stringify({ ...balloon, targetBytes })),
      "string",
      `${targetBytes}`,
    );
  const limit = { id: 6, op: "limitDisk", index: 1, limits: { bytesPerSecond: 65536 } };
  assert.deepEqual(parseRequest(JSON.stringify(limit)), limit);
  for (const wrong of [
    { index: -1 },
    { index: undefined },
    { limits: undefined },
    { limits: [] },
    { limits: { bytesPerSecond: 1 } },
    { limits: { operationsPerSecond: 0 } },
    { limits: { other: 1 } },
  ])
    assert.equal(
      typeof parseRequest(JSON.stringify({ ...limit, ...wrong })),
      "string",
      JSON.stringify(wrong),
    );
  for (const bad of [
    "",
    "[",
    "null",
    "7",
    "{}",
    '{"id":-1,"op":"stop"}',
    '{"id":1,"op":"toString"}',
    '{"id":"1","op":"stop"}',
  ]) {
    assert.equal(typeof parseRequest(bad), "string", bad);
  }
});
