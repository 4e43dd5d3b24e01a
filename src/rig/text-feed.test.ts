import assert from "node:assert/strict";
import { test } from "node:test";
import { TextFeed } from "./text-feed.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("a pattern is found in what came before, after, and across pieces", async () => {
  const feed = new TextFeed();
  feed.push(bytes("one tw"));
  assert.equal((await feed.waitFor(/one/, 1000)).end, 3);
  const two = feed.waitFor(/two/, 1000);
  feed.push(bytes("o three"));
  assert.equal((await two).end, 7);
});

test("a search begins at its position, not earlier", async () => {
  const feed = new TextFeed();
  feed.push(bytes("mark "));
  const later = feed.waitFor(/mark/, 1000, feed.position);
  feed.push(bytes("and mark"));
  assert.equal((await later).end, 13);
});

test("characters split between pieces stay whole", async () => {
  const feed = new TextFeed();
  const euro = bytes("€");
  feed.push(euro.subarray(0, 1));
  feed.push(euro.subarray(1));
  assert.equal(feed.since(0), "€");
});

test("time-out and end are errors that show the last lines", async () => {
  const feed = new TextFeed();
  feed.push(bytes("last words\r\n"));
  await assert.rejects(feed.waitFor(/never/, 10), /never[\s\S]*0\.01 s[\s\S]*last words/);
  const waiting = feed.waitFor(/never/, 60_000);
  feed.end("The machine went off");
  await assert.rejects(waiting, { code: "console_ended", message: /The machine went off[\s\S]*last words/ });
  await assert.rejects(feed.waitFor(/never/, 60_000), { code: "console_ended" });
});
