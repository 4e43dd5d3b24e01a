import assert from "node:assert/strict";
import { test } from "node:test";
import { lowerPrivateNames } from "./private-names.ts";

/** Runs the lowered text and returns what its `result` is. */
async function run(text: string): Promise<unknown> {
  const lowered = lowerPrivateNames(text, "a/file.ts");
  assert.doesNotMatch(lowered, /[.\s]#[a-z]/);
  const module = await import(`data:text/javascript,${encodeURIComponent(lowered)}`);
  return (module as { result: unknown }).result;
}

test("fields, methods, accessors and statics work as before", async () => {
  const text = `class Counter {
    #count = 1;
    static #made = 0;
    constructor() { Counter.#made++; }
    get #twice() { return this.#count * 2; }
    set #twice(x) { this.#count = x / 2; }
    #add(n) { this.#count += n; return this; }
    run() { this.#add(2).#add(3); this.#twice = this.#twice + 2; return [this.#count, Counter.#made, this?.#count]; }
  }
  export const result = new Counter().run();`;
  assert.deepEqual(await run(text), [7, 1, 7]);
});

test("a class and its subclass, and nested classes, keep their own", async () => {
  const text = `class Base { #x = 1; base() { return this.#x; } }
  class Derived extends Base { #x = 2; derived() { return this.#x; } }
  class Outer { #x = 3; #y = 4; inner() { const outer = this; return new (class { #x = 5; all() { return [this.#x, outer.#y]; } })().all(); } }
  const d = new Derived();
  export const result = [d.base(), d.derived(), ...new Outer().inner()];`;
  assert.deepEqual(await run(text), [1, 2, 5, 4]);
});

test("what only looks like a private name is left alone", async () => {
  const text = `class A { #x = "#x .#x"; /* this.#x */ get() { return this.#x + \`#x \${this.#x}\`.replace(/#x/, "!"); } }
  export const result = new A().get();`;
  assert.equal(lowerPrivateNames("const a = '#x';", "f"), "const a = '#x';");
  assert.equal(
    await (await import(`data:text/javascript,${encodeURIComponent(lowerPrivateNames(text, "f"))}`)).result,
    "#x .#x! #x .#x",
  );
});

test("names differ between files; brand checks are refused", () => {
  const text = "class A { #x = 1; }";
  assert.notEqual(lowerPrivateNames(text, "a"), lowerPrivateNames(text, "b"));
  assert.throws(
    () => lowerPrivateNames("class A { #x = 1; static is(o) { return #x in o; } }", "a"),
    /#x in o/,
  );
});
