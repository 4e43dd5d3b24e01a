/** What the image's code may count on in the engine as it is built here: parts of it are left out or replaced. */

import { SeededRandom } from "../../base/random.ts";
import { readText } from "../fs.ts";
import { equal, ok, rejection, runTests, test, throwsName } from "./harness.ts";

test("dates are formatted, also outside the years 0 to 9999, and local time is UTC", () => {
  const cases: [number, string, string][] = [
    [0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT"],
    [1700000000123, "2023-11-14T22:13:20.123Z", "Tue, 14 Nov 2023 22:13:20 GMT"],
    [-62198755200000, "-000001-01-01T00:00:00.000Z", "Fri, 01 Jan -0001 00:00:00 GMT"],
    [253402300800000, "+010000-01-01T00:00:00.000Z", "Sat, 01 Jan 10000 00:00:00 GMT"],
  ];
  for (const [ms, iso, utc] of cases) {
    const date = new Date(ms);
    equal([date.toISOString(), date.toUTCString(), date.getTimezoneOffset()], [iso, utc, 0]);
  }
  equal(new Date(2020, 1, 1).getTime(), Date.UTC(2020, 1, 1));
  equal(Date.parse("2023-11-14T22:13:20.123Z"), 1700000000123);
});

test("error messages carry their names and numbers", () => {
  const message = (body: () => unknown): string => {
    try {
      body();
    } catch (error) {
      return (error as Error).message;
    }
    return "nothing thrown";
  };
  const nothing = undefined as unknown as { name: string };
  equal(
    message(() => nothing.name),
    "cannot read property 'name' of undefined",
  );
  ok(message(() => JSON.parse('{"a":')).length > 0, "JSON");
  throwsName("SyntaxError", () => new RegExp(bridge.args[0]?.replace(/^.*$/, "(") ?? ""));
  throwsName("RangeError", () => new Uint8Array(-1));
});

test("regular expressions: named groups, sticky, splitting, all matches; no \\p", () => {
  equal(/(?<year>\d{4})-(?<month>\d\d)/.exec("on 2024-05")?.groups?.month, "05");
  equal("a1b22c".split(/\d+/), ["a", "b", "c"]);
  equal(
    [..."a1b22".matchAll(/\d+/g)].map((m) => m[0]),
    ["1", "22"],
  );
  equal("\u00e4\u00d6".toUpperCase(), "\u00c4\u00d6");
  const property = ["\\p{", "}"].join("L");
  throwsName("SyntaxError", () => new RegExp(property, "u"));
});

test("the language up to ES2023: private names, BigInt, copying array methods, async iteration", async () => {
  class Counter {
    #count = 0n;
    static #made = 0;
    constructor() {
      Counter.#made++;
    }
    next(): bigint {
      return ++this.#count;
    }
    static get made(): number {
      return Counter.#made;
    }
  }
  const counter = new Counter();
  equal([String(counter.next() << 70n), Counter.made], ["1180591620717411303424", 1]);
  equal(
    [[3, 1, 2].toSorted().join(), [1, 2, 3].with(1, 9).join(), [1, 2, 3].findLast((x) => x < 3), [4].at(-1)],
    ["1,2,3", "1,9,3", 2, 4],
  );
  async function* numbers() {
    yield 1;
    yield 2;
  }
  let sum = 0;
  for await (const x of numbers()) sum += x;
  equal(sum, 3);
  const error = await rejection(Promise.any([Promise.reject(new Error("no"))]));
  equal(error.name, "AggregateError");
  const tag = (strings: TemplateStringsArray, ...values: number[]) => strings.raw.join("|") + values.join();
  equal(tag`a\n${1}b`, "a\\n|b1");
  const wide = new BigUint64Array(1);
  new DataView(wide.buffer).setFloat64(0, 1.5);
  equal(String(wide[0]), "63551");
});

test("numbers are printed and read to the last bit", () => {
  for (const [value, text] of [
    [0.1, "0.1"],
    [1e21, "1e+21"],
    [2 ** 53 - 1, "9007199254740991"],
    [5e-324, "5e-324"],
    [123456.789, "123456.789"],
  ] as const) {
    equal([String(value), Number(text)], [text, value]);
  }
  equal(
    [(12.345).toFixed(2), (255).toString(16), (0.000001234).toPrecision(2)],
    ["12.35", "ff", "0.0000012"],
  );
  equal([Math.log2(8), Math.hypot(3, 4), 2 ** 0.5, Math.exp(0)], [3, 5, Math.SQRT2, 1]);
});

test("blocks of every size keep their content while others come, grow and go", () => {
  const random = new SeededRandom(20261124);
  const live = new Map<number, { bytes: Uint8Array; text: string; list: number[] }>();
  const fill = (key: number, size: number) => Uint8Array.from({ length: size }, (_, i) => key + i);
  const isWhole = (key: number) => {
    const block = live.get(key);
    if (block === undefined) return;
    const { bytes, text, list } = block;
    ok(
      bytes.every((byte, i) => byte === ((key + i) & 0xff)),
      `bytes of ${key}`,
    );
    ok(text === String(key).repeat(text.length / String(key).length), `text of ${key}`);
    ok(
      list.every((value, i) => value === key + i),
      `list of ${key}`,
    );
  };
  for (let round = 0; round < 20_000; round++) {
    const key = random.below(300);
    isWhole(key);
    const block = live.get(key);
    if (block !== undefined && random.below(2) === 0) {
      // Grows where it is, past the end of small blocks.
      for (let n = random.below(40); n > 0; n--) block.list.push(key + block.list.length);
      if (random.below(3) === 0) block.list.length = random.below(block.list.length + 1);
      block.text += String(key).repeat(random.below(20));
    } else if (block !== undefined && random.below(3) === 0) {
      live.delete(key);
    } else {
      const large = random.below(40) === 0 ? 200_000 : 5000;
      const size = random.below(10) === 0 ? random.below(large) : random.below(600);
      live.set(key, { bytes: fill(key, size), text: String(key).repeat(random.below(100)), list: [key] });
    }
    if (round % 1000 === 0) bridge.gc();
  }
  for (const key of live.keys()) isWhole(key);
});

test("memory that is free goes back to the kernel", () => {
  const resident = () => Number(readText("/proc/self/statm").split(" ")[1]) * 4096;
  bridge.gc();
  const before = resident();
  for (let i = 0; i < 100_000; i++) {
    const one: { other?: object; bytes: Uint8Array } = {
      bytes: new Uint8Array(i % 1000 === 0 ? 40_000 : 100),
    };
    one.other = { one };
  }
  bridge.gc();
  const after = resident();
  ok(after < before + 2 ** 20, `${before} bytes before, ${after} after`);
  let most: Uint8Array[] | null = Array.from({ length: 1000 }, () => new Uint8Array(10_000));
  const full = resident();
  ok(most.length === 1000 && full > after + 8e6, `${full} bytes with 10 MB in use`);
  most = null;
  bridge.gc();
  ok(resident() < after + 2 ** 20, `${resident()} bytes when they are free`);
});

runTests();
