/**
 * Kernel modules of a Debian kernel package, in the order in which insmod takes them.
 *
 * The package has no modules.dep (depmod runs on installation), but every module names its dependencies itself, in
 * its .modinfo section, as a zero-terminated string `depends=a,b`.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { ThimbleError } from "../../base/errors.ts";

export interface KernelModule {
  readonly name: string;
  /** The module's ELF file, not compressed: decompressing here is faster than in the guest. */
  readonly data: Buffer;
}

/** Modules are named with `-` or `_` in file names and always with `_` in dependencies. */
function canonical(name: string): string {
  return name.replaceAll("-", "_");
}

function readModule(path: string): Buffer {
  if (path.endsWith(".xz")) return execFileSync("xz", ["-dc", path], { maxBuffer: 64 * 1024 * 1024 });
  return readFileSync(path);
}

function dependenciesOf(module: Buffer): string[] {
  const marker = Buffer.from("\0depends=");
  const at = module.indexOf(marker);
  if (at < 0) return [];
  const start = at + marker.length;
  const value = module.subarray(start, module.indexOf(0, start)).toString();
  return value === "" ? [] : value.split(",");
}

/**
 * The named modules and all they depend on, dependencies first. Names that the kernel has built in are left out;
 * `builtin` is the content of its modules.builtin. Errors: `module_not_found`.
 */
export function moduleClosure(tree: string, builtin: string, names: readonly string[]): KernelModule[] {
  const files = new Map<string, string>();
  for (const path of readdirSync(tree, { recursive: true }) as string[]) {
    const match = /^(.*)\.ko(\.xz)?$/.exec(basename(path));
    if (match !== null) files.set(canonical(match[1] as string), `${tree}/${path}`);
  }
  const inKernel = new Set(builtin.split("\n").map((line) => canonical(basename(line, ".ko"))));
  const ordered: KernelModule[] = [];
  const visited = new Set<string>();

  const visit = (name: string): void => {
    if (visited.has(name) || inKernel.has(name)) return;
    visited.add(name);
    const path = files.get(name);
    if (path === undefined) {
      throw new ThimbleError("module_not_found", `The kernel package in ${tree} has no module "${name}".`);
    }
    const data = readModule(path);
    for (const dependency of dependenciesOf(data)) visit(canonical(dependency));
    ordered.push({ name, data });
  };
  for (const name of names) visit(canonical(name));
  return ordered;
}
