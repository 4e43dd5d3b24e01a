/** The fuzzer's table is complete, its steps go deep, and every device keeps the rules for a while. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { SeededRandom, testSeed } from "../../src/base/random.ts";
import { repositoryRoot } from "../../src/rig/paths.ts";
import { LIFE_STEPS, Life, live, minimise, saved, stepsOf } from "./engine.ts";
import { makeSteps } from "./steps.ts";
import { type SubjectKind, World } from "./subject.ts";
import { DEVICES } from "./table.ts";

const LIVES = 8;
/** What steps seldom reach may take them more lives. */
const LIVES_MAX = 400;
const TWINS = 10;
const vmm = join(repositoryRoot, "src/vmm");

function sources(): string[] {
  // Files with interfaces only, and what tests are made of, are no devices.
  return (readdirSync(vmm, { recursive: true }) as string[])
    .filter((path) => path.endsWith(".ts") && !/\.(test|native\.test|fixture)\.ts$/.test(path))
    .filter((path) => !path.includes("testing/") && !path.endsWith("test-support.ts"))
    .filter((path) => path !== "contract.ts" && path !== "virtio/device.ts");
}

test("every file with a state to save or registers to access is in the table", () => {
  const covered = new Set(Object.values(DEVICES).flatMap(({ covers }) => covers));
  const missing = sources().filter((path) => {
    const text = readFileSync(join(vmm, path), "utf8");
    const isDevice = /class \w+ implements [^{]*(RegisterBlock|Stateful|VirtioDevice)|\n {2}save\(\)/.test(
      text,
    );
    return isDevice && !covered.has(path);
  });
  assert.deepEqual(missing, []);
  for (const path of covered) assert.ok(sources().includes(path), `${path} is not there any more`);
});

test("every device folder has a device in the table", () => {
  const covered = Object.values(DEVICES).flatMap(({ covers }) => covers);
  for (const folder of readdirSync(join(vmm, "devices"), { withFileTypes: true })) {
    if (!folder.isDirectory()) continue;
    assert.ok(
      covered.some((path) => path.startsWith(`devices/${folder.name}/`)),
      `devices/${folder.name} is not in the fuzzer's table`,
    );
  }
});

/**
 * The device in the middle of work and its copy, restored from its saved state into another machine, answer alike from
 * then on.
 */
function twins(kind: SubjectKind, seed: number): void {
  const random = new SeededRandom(seed);
  const one = new Life(kind);
  for (const step of makeSteps(kind, one.subject, random.u32(), 100 + random.below(400))) one.step(step);
  one.subject.quiet?.();
  const state = saved(one.subject);
  const two = new Life(kind, one.world.clone());
  two.subject.restore(state);
  assert.deepEqual(saved(two.subject), state);
  // A restored device looks into its queues from the event loop: now, when there is nothing, and not later, when the other
  // has not been told of what is there by then.
  two.subject.quiet?.();
  assert.deepEqual(saved(two.subject), state);
  for (const [i, step] of makeSteps(kind, one.subject, random.u32(), 300, false).entries()) {
    assert.equal(two.step(step), one.step(step), `step ${i}, ${JSON.stringify(step)}`);
  }
  one.subject.quiet?.();
  two.subject.quiet?.();
  assert.deepEqual(saved(two.subject), saved(one.subject));
}

for (const [name, kind] of Object.entries(DEVICES)) {
  describe(name, () => {
    const seed = testSeed();

    test("survives anything a guest does, and the steps go deep", () => {
      const world = new World();
      const isMissing = (what: string) => !((world.reached[what] ?? 0) > 0);
      for (let i = 0; i < LIVES || (i < LIVES_MAX && kind.mustReach.some(isMissing)); i++) {
        const failure = live(kind, stepsOf(kind, seed + i), world);
        assert.equal(failure, null, `seed ${seed + i}, step ${failure?.step}: ${failure?.message}`);
      }
      assert.deepEqual(kind.mustReach.filter(isMissing), [], `seed ${seed}: not reached`);
    });

    test("saved in the middle of work, its copy answers as it does", () => {
      for (let i = 0; i < TWINS; i++) {
        try {
          twins(kind, seed + i);
        } catch (error) {
          throw new Error(`seed ${seed + i}`, { cause: error });
        }
      }
    });
  });
}

test("a failing input is cut to the steps that matter", () => {
  let armed = false;
  const kind: SubjectKind = {
    covers: [],
    actionShare: 0,
    mustReach: [],
    build: () => {
      armed = false;
      return {
        spaces: [
          {
            name: "trap",
            sizeBytes: 4,
            read: (offset) => {
              if (armed && offset === 2) throw new Error("caught");
              return 0;
            },
            write: (offset, _size, value) => {
              if (offset === 1 && value === 1) armed = true;
            },
          },
        ],
        actions: {},
        reset: () => {},
        save: () => ({ version: 1 }),
        restore: () => {},
      };
    },
  };
  const steps = stepsOf(kind, 5, LIFE_STEPS);
  assert.match(live(kind, steps)?.message ?? "", /caught/);
  const rest = minimise(kind, steps);
  assert.deepEqual(
    rest.map((step) => [step.op, "offset" in step ? step.offset : -1]),
    [
      ["write", 1],
      ["read", 2],
    ],
  );
});
