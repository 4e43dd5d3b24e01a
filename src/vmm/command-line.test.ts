import assert from "node:assert/strict";
import { test } from "node:test";
import { formatArguments, parseArguments } from "./command-line.ts";

test("a person gives the configuration only", () => {
  assert.deepEqual(parseArguments(["/thimble", "vmm", "--config", "/a b.json"]), {
    configPath: "/a b.json",
    resets: 0,
    inherited: new Map(),
  });
});

test("what a reset adds is read back", () => {
  const args = {
    configPath: "c",
    resets: 7,
    inherited: new Map([
      ["control", 5],
      ["serial", 9],
      ["channel3", 10],
    ] as const),
  };
  assert.deepEqual(parseArguments(formatArguments("/thimble", args)), args);
});

test("anything else is refused", () => {
  const cases = [
    [],
    ["--config"],
    ["--bogus", "1"],
    ["--config", "c", "--resets", "-1"],
    ["--config", "c", "--inherit", "x=3"],
    ["--config", "c", "--inherit", "channel=3"],
  ];
  for (const rest of cases) {
    assert.throws(() => parseArguments(["/thimble", "vmm", ...rest]), { code: "usage" }, rest.join(" "));
  }
});
