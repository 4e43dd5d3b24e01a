import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { apiState, nextPhase, type VmPhase, type VmTransition } from "./life-cycle.ts";

const phases: readonly VmPhase[] = ["stopped", "starting", "running", "shuttingDown", "forcingOff"];
const transitions: readonly VmTransition[] = ["start", "running", "shutdown", "giveUp", "forceOff", "ended"];

describe("a VM's life cycle", () => {
  const arrows: readonly (readonly [VmPhase, VmTransition, VmPhase])[] = [
    ["stopped", "start", "starting"],
    ["starting", "running", "running"],
    ["starting", "forceOff", "forcingOff"],
    ["starting", "ended", "stopped"],
    ["running", "shutdown", "shuttingDown"],
    ["running", "forceOff", "forcingOff"],
    ["running", "ended", "stopped"],
    ["shuttingDown", "giveUp", "running"],
    ["shuttingDown", "forceOff", "forcingOff"],
    ["shuttingDown", "ended", "stopped"],
    ["forcingOff", "ended", "stopped"],
  ];
  for (const [from, transition, to] of arrows) {
    test(`${from} --${transition}--> ${to}`, () => assert.equal(nextPhase(from, transition), to));
  }

  test("has no other arrow", () => {
    for (const from of phases) {
      for (const transition of transitions) {
        if (arrows.some(([a, b]) => a === from && b === transition)) continue;
        assert.equal(nextPhase(from, transition), null, `${from} --${transition}-->`);
      }
    }
  });

  test("shows both ways of stopping as one state", () => {
    assert.deepEqual(
      phases.map((phase) => apiState(phase)),
      ["stopped", "starting", "running", "stopping", "stopping"],
    );
  });
});
