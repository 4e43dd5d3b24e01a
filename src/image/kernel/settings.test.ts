import assert from "node:assert/strict";
import { test } from "node:test";
import { ThimbleError } from "../../base/errors.ts";
import { applySettings, mergeFragments, parseConfig, verifySettings } from "./settings.ts";

const fragment = (text: string) => mergeFragments([{ name: "test.config", text }]);
const hasCode = (code: string) => (error: unknown) => error instanceof ThimbleError && error.code === code;

test("a fragment's three forms are read", () => {
  const settings = fragment('# About it.\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=n\nCONFIG_D="a b"\n\n');
  assert.deepEqual(
    [...settings],
    [
      ["CONFIG_A", "y"],
      ["CONFIG_B", "n"],
      ["CONFIG_C", "n"],
      ["CONFIG_D", '"a b"'],
    ],
  );
});

test("a line that is no setting is refused", () => {
  assert.throws(() => fragment("CONFIG_A y\n"), hasCode("bad_kernel_fragment"));
});

test("lines that contradict each other are refused, the same line twice is not", () => {
  assert.throws(() => fragment("CONFIG_A=y\n# CONFIG_A is not set\n"), hasCode("bad_kernel_fragment"));
  assert.equal(fragment("CONFIG_A=n\n# CONFIG_A is not set\n").size, 1);
});

test("settings replace a .config's lines", () => {
  const config = applySettings(
    "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_Z=1\n",
    fragment("CONFIG_B=y\nCONFIG_A=n\n"),
  );
  const read = parseConfig(config);
  assert.deepEqual([read.get("CONFIG_A"), read.get("CONFIG_B"), read.get("CONFIG_Z")], ["n", "y", "1"]);
});

test("a setting that took no effect is named", () => {
  const wanted = fragment("CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=n\n");
  verifySettings("CONFIG_A=y\n# CONFIG_C is not set\n", wanted);
  assert.throws(
    () => verifySettings("CONFIG_B=y\n", wanted),
    /CONFIG_A should be y and is n; CONFIG_B should be n/,
  );
});
