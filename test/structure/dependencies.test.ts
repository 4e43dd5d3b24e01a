/** Dependencies point downward (design.md, "The tree"): which part may import which. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type SourceFile, sourceFiles } from "./source-tree.ts";

interface Rule {
  /** Parts whose code may be imported. The part itself always may. */
  readonly may: readonly string[];
  /** Single files of which types may be imported. */
  readonly typesOf?: readonly string[];
  /** npm packages that are bundled into the image. */
  readonly packages?: readonly string[];
}

/** Parts that run on QuickJS in the image. */
const imageRules: Record<string, Rule> = {
  "src/base": { may: [] },
  "src/disk": { may: ["src/base"] },
  "src/sys": { may: ["src/base"] },
  "src/vmm": { may: ["src/base", "src/sys", "src/disk"] },
  "src/host": {
    may: ["src/base", "src/sys", "src/disk"],
    typesOf: ["src/vmm/config.ts", "src/vmm/control.ts"],
    packages: ["hono", "valibot"],
  },
  "src/init": { may: ["src/base", "src/sys"] },
};

/** Parts that run on Node. */
const nodeParts = ["src/cli", "src/image", "src/rig"];

const within = (part: string, file: string): boolean => file.startsWith(`${part}/`);

/** What an image file imports against the rule, as sentences. */
function violations(part: string, rule: Rule, source: SourceFile): string[] {
  return source.imports.flatMap(({ specifier, file, typesOnly }) => {
    const complaint = [`${source.path} imports ${specifier}`];
    if (file === undefined) {
      const allowed = rule.packages?.some((name) => specifier === name || specifier.startsWith(`${name}/`));
      return allowed ? [] : complaint;
    }
    if ([part, ...rule.may].some((other) => within(other, file))) return [];
    if (typesOnly && rule.typesOf?.includes(file)) return [];
    return complaint;
  });
}

describe("dependencies point downward", () => {
  for (const [part, rule] of Object.entries(imageRules)) {
    test(`${part} imports only what it may`, () => {
      const code = sourceFiles(part).filter((source) => !source.isTest);
      assert.deepEqual(
        code.flatMap((source) => violations(part, rule, source)),
        [],
      );
    });
  }

  test("code of the image never imports the parts that run on Node", () => {
    const wrong = Object.keys(imageRules).flatMap((part) =>
      sourceFiles(part)
        .filter((source) => !source.isTest)
        .flatMap((source) =>
          source.imports
            .filter(({ file }) => file !== undefined && nodeParts.some((node) => within(node, file)))
            .map(({ specifier }) => `${source.path} imports ${specifier}`),
        ),
    );
    assert.deepEqual(wrong, []);
  });

  test("only src/sys touches the runtime bridge", () => {
    const users = Object.keys(imageRules)
      .filter((part) => part !== "src/sys")
      .flatMap((part) => sourceFiles(part))
      .filter((source) => !source.isTest)
      .filter(
        ({ text, imports }) =>
          /\bbridge\.[a-z]+\(/i.test(text) || imports.some(({ file }) => file === "src/sys/bridge.ts"),
      )
      .map(({ path }) => path);
    assert.deepEqual(users, []);
  });

  test("src/base and src/vmm import every file with its suffix", () => {
    const wrong = ["src", "test", "bench"]
      .flatMap((directory) => sourceFiles(directory))
      .flatMap((source) =>
        source.imports
          .filter(({ file }) => file !== undefined && !/\.(ts|json)$/.test(file))
          .map(({ specifier }) => `${source.path} imports ${specifier}`),
      );
    assert.deepEqual(wrong, []);
  });
});
