/** Programs of this machine with all they need to run in a guest, as a directory tree for `rootDisk`. */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { buildDirectory } from "../paths.ts";

/** Files that the dynamic linker would load for a program, itself included. */
function sharedObjects(program: string): string[] {
  const lines = execFileSync("ldd", [program], { encoding: "utf8" }).split("\n");
  return lines.flatMap((line) => /^\s*(?:\S+ => )?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}

/**
 * Copies a Debian package's program and its libraries, keeping their paths. Made once for each version.
 * Returns the tree's directory.
 */
export function programTree(debianPackage: string, program: string): string {
  const version = execFileSync("dpkg-query", ["-W", "-f", "$" + "{Version}", debianPackage], {
    encoding: "utf8",
  });
  const tree = join(
    buildDirectory,
    "guests",
    `tree-${debianPackage}-${version.replaceAll(/[^\w.+-]/g, "_")}`,
  );
  if (existsSync(tree)) return tree;
  const partial = `${tree}.partial-${process.pid}`;
  rmSync(partial, { recursive: true, force: true });
  for (const file of [program, ...sharedObjects(program)]) {
    const target = join(partial, file);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(file, target);
  }
  renameSync(partial, tree);
  return tree;
}
