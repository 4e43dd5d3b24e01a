/** Limits that the project has set itself for its own code. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { repositoryRoot } from "../../src/rig/paths.ts";
import { filesBelow, sourceFiles } from "./source-tree.ts";

/** "About 400" (style.md) with some room; tests may be longer, since a list of cases is read differently. */
const codeLinesMax = 450;
const testLinesMax = 700;
/** design.md, decision 3: the C is a bridge, not a program. */
const bridgeLinesMax = 2000;
/** What runs in the firmware before anything is checked can be read in one sitting. */
const selectorLinesMax = 400;

const everything = ["src", "test", "bench"].flatMap((directory) => sourceFiles(directory));

describe("limits", () => {
  test(`source files have at most ${codeLinesMax} lines, tests ${testLinesMax}`, () => {
    const long = everything
      .filter((source) => source.lines > (source.isTest ? testLinesMax : codeLinesMax))
      .map((source) => `${source.path}: ${source.lines} lines`);
    assert.deepEqual(long, []);
  });

  test(`the C bridge has at most ${bridgeLinesMax} lines`, () => {
    const files = filesBelow("runtime", ".c", ".h", ".S");
    const lines = files.map(
      (path) => readFileSync(join(repositoryRoot, path), "utf8").split("\n").length - 1,
    );
    const total = lines.reduce((sum, count) => sum + count, 0);
    assert.ok(total <= bridgeLinesMax, `the bridge has ${total} lines`);
  });

  test(`the boot selector has at most ${selectorLinesMax} lines of C`, () => {
    const lines =
      readFileSync(join(repositoryRoot, "firmware/selector/selector.c"), "utf8").split("\n").length - 1;
    assert.ok(lines <= selectorLinesMax, `it has ${lines}`);
  });

  test("no default exports and no explicit any", () => {
    const wrong = everything
      .filter(({ text }) =>
        /^export default|[:<]\s*any\b(?!thing)/m.test(text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "")),
      )
      .map(({ path }) => path);
    assert.deepEqual(wrong, []);
  });

  test("devices describe binary structures with the layout helper", () => {
    // DataView calls with literal offsets are how a magic offset enters logic.
    const wrong = ["src/vmm", "src/host", "src/init"]
      .flatMap((directory) => sourceFiles(directory))
      .filter(({ isTest }) => !isTest)
      .filter(({ text }) =>
        /\.(get|set)(Uint|Int|BigUint|BigInt)(8|16|32|64)\(\s*(0x[0-9a-f]+|[1-9]\d*)\b/.test(text),
      )
      .map(({ path }) => path);
    assert.deepEqual(wrong, []);
  });
});
