import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { cached, cacheRoot, keyOf, withLock } from "./cache.ts";
import { useOwnCache } from "./testing/own-cache.ts";

describe("the cache", () => {
  useOwnCache();

  test("an entry is made once and found again", async () => {
    let made = 0;
    const make = async (directory: string) => {
      made++;
      writeFileSync(join(directory, "file"), "x");
    };
    const first = await cached("kind", "key", make);
    assert.equal(await cached("kind", "key", make), first);
    assert.equal(made, 1);
    assert.ok(existsSync(join(first, "file")));
  });

  test("a failed entry leaves nothing behind and can be made later", async () => {
    const failing = cached("fails", "key", async () => {
      throw new Error("no");
    });
    await assert.rejects(failing, /no/);
    assert.deepEqual(readdirSync(join(cacheRoot(), "fails")), []);
    await withLock("fails-key", async () => {}); // free again
  });

  test("two at once make an entry once", async () => {
    let made = 0;
    const make = async () => {
      made++;
    };
    await Promise.all([cached("twice", "k", make), cached("twice", "k", make)]);
    assert.equal(made, 1);
  });

  test("work under one lock does not overlap", async () => {
    let inside = 0;
    const work = async () => {
      assert.equal(++inside, 1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inside--;
    };
    await Promise.all([withLock("l", work), withLock("l", work), withLock("l", work)]);
  });

  test("keys differ when the same bytes are split differently", () => {
    assert.notEqual(keyOf("ab", "c"), keyOf("a", "bc"));
  });
});
