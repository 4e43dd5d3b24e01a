/**
 * Parts of a role: bytecode of their own, which a process reads when it first uses them, and not at its start.
 *
 * A role names its parts in a file `parts.ts`, which holds nothing but pairs of
 *
 *     import * as disks from "./parts/disks.ts";
 *     export const disksPart = () => disks;
 *
 * and, at its end, `export const forgetParts = () => {};`. Under Node that is all there is to it. For the image that file becomes one that asks the runtime
 * for the part, keeps it until `forgetParts`, and then asks anew. A part
 * gets what the role's own script has of the modules they both use from that script, so every class is there once.
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Plugin } from "esbuild";
import ts from "typescript";
import { ThimbleError } from "../../base/errors.ts";

const PARTS_FILE = /\/parts\.ts$/;
const IMPORT = /^import \* as (\w+) from "(\.[\w./-]+)";$/gm;
const EXPORT = /^export const (\w+) = \(\) => (\w+);$/gm;
const FORGET = /^export const forgetParts = \(\) => \{\};$/m;
const COMMENT = /\/\*[\s\S]*?\*\//g;

/** Stands for all names of a module. */
const WHOLE = "*";

export interface Part {
  readonly name: string;
  /** The module that it is. */
  readonly entry: string;
}

/** What a part takes from the role's script: paths of modules, and names in each. */
export type SharedNames = Map<string, Set<string>>;

/** The parts that a `parts.ts` names, and the functions that give them. Throws ThimbleError("bad_parts"). */
export function readParts(path: string, text: string): { parts: Part[]; functions: [string, string][] } {
  const parts = [...text.matchAll(IMPORT)].map(([, name, specifier]) => ({
    name: name as string,
    entry: resolve(dirname(path), specifier as string),
  }));
  const functions = [...text.matchAll(EXPORT)].map(([, name, part]): [string, string] => [
    name as string,
    part as string,
  ]);
  const rest = text.replace(COMMENT, "").replace(IMPORT, "").replace(EXPORT, "").replace(FORGET, "").trim();
  if (
    rest !== "" ||
    !FORGET.test(text) ||
    functions.some(([, part]) => !parts.some(({ name }) => name === part))
  ) {
    throw new ThimbleError(
      "bad_parts",
      `${path} must hold imports of parts, functions for them, forgetParts, and nothing else.`,
    );
  }
  return { parts, functions };
}

/**
 * Puts in the place of a role's `parts.ts` a module that asks the runtime for them. `shared` is what it hands to a part;
 * `onParts` is told what there is.
 */
export function partsPlugin(role: string, shared: SharedNames, onParts: (parts: Part[]) => void): Plugin {
  return {
    name: "parts",
    setup(build) {
      build.onLoad({ filter: PARTS_FILE }, async ({ path }) => {
        const { parts, functions } = readParts(path, await readFile(path, "utf8"));
        onParts(parts);
        const { imports, names } = sharedImports(shared);
        const contents = `${imports}
          const shared = () => [${names.join()}];
          let loaded = {};
          export const forgetParts = () => {
            loaded = {};
            // A part's functions know each other: cycles.
            bridge.gc();
          };
          const load = (name) => {
            if (loaded[name] === undefined) {
              bridge.shared = shared();
              loaded[name] = bridge.loadPart("${role}." + name);
            }
            return loaded[name];
          };
          ${functions.map(([name, part]) => `export const ${name} = () => load("${part}");`).join("\n")}`;
        return { contents, loader: "js", resolveDir: dirname(path) };
      });
    },
  };
}

/** Gives a part the modules of the role's script: names are found by their place in the list that the script hands over. */
export function sharedPlugin(used: SharedNames, shared: SharedNames): Plugin {
  const order = [...shared].flatMap(([path, names]) => [...names].map((name) => `${path}\0${name}`));
  return {
    name: "shared",
    setup(build) {
      build.onResolve({ filter: /^\./ }, ({ path, resolveDir }) => {
        const target = resolve(resolveDir, path);
        return used.has(target) ? { path: target, namespace: "shared" } : null;
      });
      build.onLoad({ filter: /./, namespace: "shared" }, ({ path }) => ({
        contents: [...(used.get(path) ?? [])]
          .map((name) => `export const ${name} = bridge.shared[${order.indexOf(`${path}\0${name}`)}];`)
          .join("\n"),
      }));
    },
  };
}

function sharedImports(shared: SharedNames): { imports: string; names: string[] } {
  const names: string[] = [];
  let imports = "";
  for (const [path, used] of shared) {
    const list = [...used].map((name) => {
      names.push(`shared${names.length}`);
      return `${name} as ${names.at(-1)}`;
    });
    imports += `import { ${list.join(", ")} } from ${JSON.stringify(path)};\n`;
  }
  return { imports, names };
}

export interface WalkedPart {
  readonly part: Part;
  /** What it uses of the role's script. */
  readonly used: SharedNames;
}

/**
 * Finds what each part has to take from the role's script: what it uses of `script`, the modules that are in it, and what
 * other parts use as well, which comes to the script, so that every class is there once. Modules of constants alone
 * (`isCopied`) may be in several. Throws ThimbleError("bad_parts").
 */
export async function walkParts(
  parts: readonly Part[],
  script: ReadonlySet<string>,
  isCopied: (path: string) => boolean,
): Promise<WalkedPart[]> {
  const walked = await Promise.all(
    parts.map(async (part) => ({ part, ...(await walkPart(part.entry, script, isCopied)) })),
  );
  const seen = new Set<string>();
  const common = new Set<string>();
  for (const path of walked.flatMap(({ own }) => [...own])) {
    if (seen.has(path) && !isCopied(path)) common.add(path);
    seen.add(path);
  }
  return common.size === 0 ? walked : walkParts(parts, new Set([...script, ...common]), isCopied);
}

async function walkPart(
  entry: string,
  script: ReadonlySet<string>,
  isCopied: (path: string) => boolean,
): Promise<{ own: Set<string>; used: SharedNames }> {
  const own = new Set<string>();
  const used: SharedNames = new Map();
  const waiting = [entry];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (own.has(path)) continue;
    own.add(path);
    for (const { specifier, names } of valueImports(path, await readFile(path, "utf8"))) {
      const target = resolve(dirname(path), specifier);
      if (!script.has(target) || isCopied(target)) {
        waiting.push(target);
        continue;
      }
      if (names.includes(WHOLE)) {
        throw new ThimbleError("bad_parts", `${path}: what a part takes from ${target} it imports by name.`);
      }
      const known = used.get(target) ?? new Set();
      for (const name of names) known.add(name);
      used.set(target, known);
    }
  }
  return { own, used };
}

/** Imports and re-exports of a module that are there at run time. Throws ThimbleError("bad_parts") for packages. */
function valueImports(path: string, text: string): { specifier: string; names: string[] }[] {
  const found: { specifier: string; names: string[] }[] = [];
  for (const statement of ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true).statements) {
    let list: ts.NamedImports | ts.NamedExports | undefined;
    if (ts.isImportDeclaration(statement)) {
      const clause = statement.importClause;
      if (clause?.isTypeOnly) continue;
      const bindings = clause?.namedBindings;
      list = bindings !== undefined && ts.isNamedImports(bindings) ? bindings : undefined;
    } else if (ts.isExportDeclaration(statement) && statement.moduleSpecifier !== undefined) {
      if (statement.isTypeOnly) continue;
      const clause = statement.exportClause;
      list = clause !== undefined && ts.isNamedExports(clause) ? clause : undefined;
    } else {
      continue;
    }
    const specifier = (statement.moduleSpecifier as ts.StringLiteral).text;
    if (!specifier.startsWith(".")) {
      throw new ThimbleError("bad_parts", `${path}: a part imports only modules of this project.`);
    }
    const names =
      list === undefined
        ? [WHOLE]
        : [...list.elements]
            .filter(({ isTypeOnly }) => !isTypeOnly)
            .map((element) => (element.propertyName ?? element.name).text);
    if (names.length > 0) found.push({ specifier, names });
  }
  return found;
}
