/** What a fuzzed device goes through, as plain data: made from a seed alone, so that a failing input can be kept and cut. */
import { SeededRandom } from "../../src/base/random.ts";
import type { Subject, SubjectKind } from "./subject.ts";

/** One thing that happens to a device. An action draws the rest from `seed`. */
export type Step =
  | { readonly op: "read"; readonly space: number; readonly offset: number; readonly size: number }
  | {
      readonly op: "write";
      readonly space: number;
      readonly offset: number;
      readonly size: number;
      readonly value: number;
    }
  | { readonly op: "act"; readonly name: string; readonly seed: number }
  /** Saved, and restored into a new device. */
  | { readonly op: "move" }
  /** The same with a damaged state, which is refused or taken. */
  | { readonly op: "damage"; readonly seed: number }
  | { readonly op: "reset" };

/** One in so many steps each. */
const MOVE_RARITY = 200;
const DAMAGE_RARITY = 400;
const RESET_RARITY = 1000;
/** Of register accesses, the share (in 100) that goes to the first registers, where most devices have theirs. */
const NEAR_SHARE = 50;
const NEAR_BYTES = 64;

/** The steps of one life. What there is to access is asked of `subject`, which is not touched. */
export function makeSteps(
  kind: SubjectKind,
  subject: Subject,
  seed: number,
  count: number,
  withMoves = true,
): Step[] {
  const random = new SeededRandom(seed);
  const names = Object.keys(subject.actions);
  return Array.from({ length: count }, (): Step => {
    if (withMoves && random.below(MOVE_RARITY) === 0) return { op: "move" };
    if (withMoves && random.below(DAMAGE_RARITY) === 0) return { op: "damage", seed: random.u32() };
    if (random.below(RESET_RARITY) === 0) return { op: "reset" };
    if (names.length > 0 && random.below(100) < kind.actionShare) {
      return { op: "act", name: random.pick(names), seed: random.u32() };
    }
    return access(random, subject);
  });
}

function access(random: SeededRandom, subject: Subject): Step {
  const space = random.below(subject.spaces.length);
  const { sizeBytes } = subject.spaces[space] as Subject["spaces"][number];
  const size = random.pick([1, 2, 4]);
  const reach = random.below(100) < NEAR_SHARE ? Math.min(NEAR_BYTES, sizeBytes) : sizeBytes;
  const offset = random.below(reach);
  if (random.below(2) === 0) return { op: "read", space, offset, size };
  const limit = 2 ** (8 * size);
  const value = random.pick([0, 1, 0x80, 0xff, limit - 1, random.below(16), random.u32(), random.u32()]);
  return { op: "write", space, offset, size, value: value % limit };
}
