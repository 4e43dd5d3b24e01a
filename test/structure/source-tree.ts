/** The repository's source files and what they import, for the tests of its structure. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { repositoryRoot } from "../../src/rig/paths.ts";

export interface SourceImport {
  /** As written: "../base/errors.ts", "node:fs", "hono". */
  readonly specifier: string;
  /** Path from the repository's root for our own files, otherwise undefined. */
  readonly file: string | undefined;
  /** `import type`, or every name in it a type. */
  readonly typesOnly: boolean;
}

export interface SourceFile {
  /** Path from the repository's root. */
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  readonly isTest: boolean;
  readonly imports: readonly SourceImport[];
}

const importPattern =
  /^\s*(?:import|export)\s+(type\s+)?(?:([^"';]*?)\s+from\s+)?["']([^"']+)["']|import\(\s*["']([^"']+)["']\s*\)/gm;

function importsOf(path: string, text: string): SourceImport[] {
  return [...text.matchAll(importPattern)].map((match) => {
    const specifier = (match[3] ?? match[4]) as string;
    const names = /^\{([\s\S]*)\}$/.exec((match[2] ?? "").trim())?.[1];
    const eachType = names
      ?.split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "")
      .every((name) => name.startsWith("type "));
    const ours = specifier.startsWith(".");
    return {
      specifier,
      file: ours ? normalize(join(dirname(path), specifier)) : undefined,
      typesOnly: match[1] !== undefined || eachType === true,
    };
  });
}

/** Files below a directory whose names end in one of `extensions`. */
export function filesBelow(directory: string, ...extensions: string[]): string[] {
  return (readdirSync(join(repositoryRoot, directory), { recursive: true }) as string[])
    .map((path) => join(directory, path))
    .filter((path) => extensions.some((extension) => path.endsWith(extension)))
    .sort();
}

/** The TypeScript files below a directory. */
export function sourceFiles(directory: string): SourceFile[] {
  return filesBelow(directory, ".ts").map((path) => {
    const text = readFileSync(join(repositoryRoot, path), "utf8");
    return {
      path,
      text,
      lines: text.split("\n").length - 1,
      // Helpers of unit tests run on Node like the tests themselves.
      isTest: /\.test\.ts$|(^|\/)test-[a-z-]+\.ts$|\/testing\//.test(path),
      imports: importsOf(path, text),
    };
  });
}
