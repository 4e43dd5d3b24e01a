/**
 * Runs a device through steps and looks that it keeps the rules: nothing throws, what is read fits its width, a saved
 * state is restored exactly and stays small, and after a reset the device works.
 */
import assert from "node:assert/strict";
import { ThimbleError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import type { DeviceState } from "../../src/vmm/contract.ts";
import { makeSteps, type Step } from "./steps.ts";
import { type Subject, type SubjectKind, World } from "./subject.ts";

/** Steps between two freshly built devices. */
export const LIFE_STEPS = 2000;
/** Characters of a saved state: a queue of 256 entries each in flight and an MSI-X table are far below. */
const STATE_CHARACTERS_MAX = 64 * 1024;

/** A saved state as another process would get it. */
export function saved(subject: Subject): DeviceState {
  const text = JSON.stringify(subject.save());
  assert.ok(text.length <= STATE_CHARACTERS_MAX, `the saved state has ${text.length} characters`);
  return JSON.parse(text) as DeviceState;
}

/** A device and the world it is in, on its way through steps. */
export class Life {
  subject: Subject;

  constructor(
    readonly kind: SubjectKind,
    readonly world = new World(),
  ) {
    this.subject = kind.build(world);
  }

  /** Takes a step; returns what was read. Throws when a rule is broken. */
  step(step: Step): number {
    switch (step.op) {
      case "read": {
        const value = this.subject.spaces[step.space]?.read(step.offset, step.size) ?? 0;
        const fits = Number.isInteger(value) && value >= 0 && value < 2 ** (8 * step.size);
        assert.ok(fits, `read ${value} with ${step.size} bytes`);
        return value;
      }
      case "write":
        this.subject.spaces[step.space]?.write(step.offset, step.size, step.value);
        return 0;
      case "act":
        this.subject.actions[step.name]?.(new SeededRandom(step.seed));
        return 0;
      case "move":
        this.#move();
        return 0;
      case "damage":
        this.#damage(new SeededRandom(step.seed));
        return 0;
      case "reset":
        this.subject.reset();
        return 0;
    }
  }

  /** The end of a life: whatever was before, a reset makes the device work. */
  end(): void {
    this.subject.quiet?.();
    this.subject.reset();
    this.subject.works?.();
  }

  #move(): void {
    this.subject.quiet?.();
    const state = saved(this.subject);
    this.world.renewClock();
    this.subject = this.kind.build(this.world);
    this.subject.restore(state);
    assert.deepEqual(saved(this.subject), state, "the restored device saves another state");
  }

  #damage(random: SeededRandom): void {
    this.subject.quiet?.();
    const state = saved(this.subject);
    this.world.renewClock();
    const damaged = JSON.parse(JSON.stringify(state)) as DeviceState;
    damage(random, damaged as Record<string, unknown>);
    this.subject = this.kind.build(this.world);
    try {
      this.subject.restore(damaged);
    } catch (error) {
      assert.ok(error instanceof ThimbleError && error.code === "bad_state", `${error}`);
      this.subject = this.kind.build(this.world);
      this.subject.restore(state);
    }
  }
}

/** Changes one value somewhere in a state. */
function damage(random: SeededRandom, state: Record<string, unknown>): void {
  let at = state;
  for (;;) {
    const keys = Object.keys(at);
    if (keys.length === 0) return;
    const key = random.pick(keys);
    const value = at[key];
    if (typeof value === "object" && value !== null && random.below(10) !== 0) {
      at = value as Record<string, unknown>;
      continue;
    }
    if (random.below(8) === 0) delete at[key];
    else
      at[key] = random.pick([
        0,
        1,
        -1,
        0.5,
        255,
        256,
        65536,
        2 ** 32,
        2 ** 53,
        "x",
        null,
        true,
        [],
        {},
        [1e9],
      ]);
    return;
  }
}

export interface Failure {
  readonly message: string;
  /** The step that broke a rule; the number of steps when it was the end. */
  readonly step: number;
}

/** Lives through the steps. Null when every rule held. */
export function live(kind: SubjectKind, steps: readonly Step[], world = new World()): Failure | null {
  let done = 0;
  try {
    const life = new Life(kind, world);
    for (; done < steps.length; done++) life.step(steps[done] as Step);
    life.end();
    return null;
  } catch (error) {
    return { message: error instanceof Error ? (error.stack ?? error.message) : String(error), step: done };
  }
}

/** The steps of the life with a seed. */
export function stepsOf(kind: SubjectKind, seed: number, count = LIFE_STEPS): Step[] {
  return makeSteps(kind, kind.build(new World()), seed, count);
}

/** Drops steps as long as the rest still fails. */
export function minimise(kind: SubjectKind, steps: readonly Step[]): readonly Step[] {
  let rest = steps;
  for (let piece = Math.ceil(rest.length / 2); piece >= 1; piece = Math.floor(piece / 2)) {
    for (let at = 0; at < rest.length; ) {
      const shorter = [...rest.slice(0, at), ...rest.slice(at + piece)];
      if (live(kind, shorter) === null) at += piece;
      else rest = shorter;
    }
  }
  return rest;
}
