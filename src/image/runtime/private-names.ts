/**
 * Private names (`#count`) become ordinary property names that nothing else uses, which the bundler then shortens.
 *
 * TypeScript has checked by then that nobody outside the class uses them. The engine keeps a symbol and a closure
 * variable per private name and checks every access: without them the bytecode is 4 % smaller and a little faster.
 * Only the release build does it; a debug build keeps the names as they were written.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Plugin } from "esbuild";
import ts from "typescript";
import { ThimbleError } from "../../base/errors.ts";

/** What the new names begin with: for esbuild's `mangleProps`. */
export const LOWERED_NAME = /^\$private_/;

interface PrivateScope {
  readonly names: ReadonlySet<string>;
  /** Tells the classes of one file apart, so that one and its subclass may use the same name. */
  readonly index: number;
}

/** Replaces the private names in a TypeScript text. `unit` tells files apart and enters the new names. */
export function lowerPrivateNames(text: string, unit: string): string {
  if (!text.includes("#")) return text;
  const source = ts.createSourceFile("unit.ts", text, ts.ScriptTarget.ES2023, true, ts.ScriptKind.TS);
  const suffix = createHash("sha256").update(unit).digest("hex").slice(0, 8);
  const scopes: PrivateScope[] = [];
  let classes = 0;
  let out = "";
  let copied = 0;
  const visit = (node: ts.Node): void => {
    if (ts.isPrivateIdentifier(node)) {
      const scope = scopes.findLast((candidate) => candidate.names.has(node.text));
      if (scope === undefined || ts.isBinaryExpression(node.parent)) {
        throw new ThimbleError(
          "bad_private_name",
          `${unit}: ${node.parent.getText()} cannot be built, use a method`,
        );
      }
      out += `${text.slice(copied, node.getStart())}$private_${node.text.slice(1)}_${suffix}_${scope.index}`;
      copied = node.end;
    } else if (ts.isClassLike(node)) {
      const names = node.members.flatMap((member) =>
        member.name !== undefined && ts.isPrivateIdentifier(member.name) ? [member.name.text] : [],
      );
      scopes.push({ names: new Set(names), index: classes++ });
      ts.forEachChild(node, visit);
      scopes.pop();
    } else {
      ts.forEachChild(node, visit);
    }
  };
  visit(source);
  return out + text.slice(copied);
}

/** The same as a step of the bundler, for the files below `sourceDir`. */
export function privateNamesPlugin(sourceDir: string): Plugin {
  return {
    name: "private-names",
    setup(build) {
      build.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (!path.startsWith(sourceDir)) return null;
        const text = await readFile(path, "utf8");
        return { contents: lowerPrivateNames(text, path.slice(sourceDir.length)), loader: "ts" };
      });
    },
  };
}
