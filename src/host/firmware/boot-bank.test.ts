import assert from "node:assert/strict";
import { test } from "node:test";
import { CHOICE, Choice, confirmBootBank, RUNNING, Running } from "./boot-bank.ts";

/** Variables in memory; returns what was written, too. */
function variables(choice: Uint8Array | null, running: number | null) {
  const written: Uint8Array[] = [];
  const values = new Map<string, Uint8Array>();
  if (choice !== null) values.set(CHOICE, choice);
  if (running !== null) values.set(RUNNING, Running.encode({ attributes: 6, bank: running }));
  const store = {
    read: (name: string) => values.get(name) ?? null,
    replace: (name: string, _vendor: string, content: Uint8Array) => {
      assert.equal(name, CHOICE);
      written.push(content);
      values.set(name, content);
    },
  };
  return { store, written };
}
const choice = (bank: number, tries: number, version = 1) =>
  Choice.encode({ attributes: 7, version, bank, tries });

test("a bank on trial that runs is confirmed, once", () => {
  const { store, written } = variables(choice(1, 2), 1);
  assert.deepEqual(confirmBootBank(store), { news: "confirmed", bank: "B" });
  assert.deepEqual(written, [choice(1, 0xff)]);
  assert.deepEqual(confirmBootBank(store), { news: "none", bank: "B" });
  assert.equal(written.length, 1);
});

test("after the last try has been counted, too", () => {
  const { store, written } = variables(choice(0, 0), 0);
  assert.equal(confirmBootBank(store).news, "confirmed");
  assert.deepEqual(written, [choice(0, 0xff)]);
});

test("the other bank running is told and confirms nothing", () => {
  for (const tries of [0, 3, 0xff]) {
    const { store, written } = variables(choice(1, tries), 0);
    assert.deepEqual(confirmBootBank(store), { news: "fallen-back", bank: "A" });
    assert.equal(written.length, 0);
  }
});

test("without selector or choice, with another version or a strange length nothing is done", () => {
  const odd = new Uint8Array(3);
  for (const [wanted, running] of [
    [null, null],
    [null, 0],
    [choice(0, 2), null],
    [choice(0, 2, 9), 0],
    [odd, 0],
  ] as const) {
    const { store, written } = variables(wanted, running);
    assert.deepEqual(confirmBootBank(store), { news: "none", bank: "" });
    assert.equal(written.length, 0);
  }
});
