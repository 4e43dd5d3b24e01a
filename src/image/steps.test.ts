import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type BuildProgress, StepRunner } from "./steps.ts";
import { useOwnCache } from "./testing/own-cache.ts";

describe("steps", () => {
  const root = useOwnCache();

  test("a keyed step runs again when its key changes, its product is gone, or it failed", async () => {
    const product = join(root, "product");
    let runs = 0;
    const step = async (key: string, work = async () => writeFileSync(product, key)): Promise<string> => {
      const seen: BuildProgress[] = [];
      const runner = new StepRunner(join(root, "out"), (progress) => seen.push(progress));
      await runner.whenChanged({ name: "Step", guessMs: 1, key, products: [product] }, async () => {
        runs++;
        await work();
      });
      return seen.at(-1)?.state ?? "";
    };
    assert.equal(await step("a"), "done");
    assert.equal(await step("a"), "unchanged");
    assert.equal(await step("b"), "done");
    rmSync(product);
    assert.equal(await step("b"), "done");
    const failing = step("c", async () => {
      throw new Error("no");
    });
    await assert.rejects(failing, /no/);
    assert.equal(await step("b"), "done", "what a failed step left behind is not what key b made");
    assert.equal(runs, 5);
  });

  test("a step tells its start, what it is at, and its end, and returns what the work returns", async () => {
    const seen: BuildProgress[] = [];
    const runner = new StepRunner(join(root, "out"), (progress) => seen.push(progress));
    const result = await runner.always({ name: "Work", guessMs: 1234 }, async (detail) => {
      detail("half");
      return 7;
    });
    assert.equal(result, 7);
    assert.deepEqual(
      seen.map(({ step, state, estimateMs }) => [step, state, estimateMs]),
      [
        ["Work", "running", 1234],
        ["Work", "done", 1234],
      ],
    );
  });

  test("a damaged stamp file only makes steps run again", async () => {
    const out = join(root, "out");
    writeFileSync(join(out, "steps.json"), '{"Step": ');
    let runs = 0;
    const runner = new StepRunner(out, () => {});
    await runner.whenChanged({ name: "Step", guessMs: 1, key: "b", products: [] }, async () => {
      runs++;
    });
    assert.equal(runs, 1);
  });
});
