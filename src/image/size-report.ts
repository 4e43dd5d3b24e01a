/**
 * What the image is made of. Unpacked sizes are exact; what a part costs in the image is an estimate, because the whole
 * kernel is packed as one: the packed size is shared out in proportion to unpacked code and data.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { ThimbleError } from "../base/errors.ts";
import type { BuildResult } from "./build.ts";
import { kernelTree } from "./kernel/build.ts";
import { kernelSettings, type ProfileName, profiles } from "./profile.ts";
import { runTool } from "./runtime/tool.ts";
import type { SizeRecord } from "./size-record.ts";
import { linuxSource } from "./sources.ts";

/** A line of the table. */
export interface SizeLine {
  readonly name: string;
  readonly unpackedBytes: number;
  readonly imageBytes: number;
}

export interface SizeReport {
  readonly kernel: readonly SizeLine[];
  readonly userland: readonly SizeLine[];
  /** Decompressor, EFI stub, headers: what is not packed. */
  readonly unpackedParts: number;
  readonly imageBytes: number;
  readonly imageBytesMax: number;
  readonly romBytes: number;
  readonly romFreeBytes: number;
  readonly romLevel: string;
}

/** Kernel parts smaller than this are summed up in one line. */
const LINE_BYTES_MIN = 16 * 1024;

/** The part of the kernel that an object file belongs to, by its path in the tree. */
export function subsystemOf(object: string): string {
  const [top = "", second = ""] = object.split("/");
  if (top === "virt" || object.startsWith("arch/x86/kvm/")) return "KVM";
  if (top === "arch") return "x86";
  if (top === "drivers" || top === "net" || top === "fs") {
    return second.endsWith(".o") ? top : `${top}/${second}`;
  }
  return top.endsWith(".o") ? "other" : top;
}

/** Reads `size`'s table: file name to the bytes that end up in the unpacked kernel image. */
export function parseSizes(output: string): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const line of output.split("\n").slice(1)) {
    const [text, data, , , , ...name] = line.trim().split(/\s+/);
    if (name.length > 0) sizes.set(name.join(" "), Number(text) + Number(data));
  }
  return sizes;
}

async function objectsOf(tree: string): Promise<string[]> {
  const archives = ["vmlinux.a", "lib/lib.a", "arch/x86/lib/lib.a"];
  const listings = await Promise.all(archives.map((archive) => runTool("ar", ["t", archive], { cwd: tree })));
  return listings.flatMap((listing, index) => {
    const directory = index === 0 ? "" : `${(archives[index] as string).replace(/lib\.a$/, "")}`;
    // Members of the thin vmlinux.a are paths, those of the libraries may be bare names.
    return listing
      .split("\n")
      .filter((name) => name.endsWith(".o"))
      .map((name) => (name.startsWith(directory) ? name : `${directory}${name}`));
  });
}

async function kernelParts(tree: string): Promise<Map<string, number>> {
  const objects = (await objectsOf(tree)).filter((object) => object !== "usr/initramfs_data.o");
  const sizes = parseSizes(await runTool("size", objects, { cwd: tree }));
  const parts = new Map<string, number>();
  for (const [object, bytes] of sizes) {
    const name = subsystemOf(object);
    parts.set(name, (parts.get(name) ?? 0) + bytes);
  }
  let small = 0;
  for (const [name, bytes] of parts) {
    if (bytes >= LINE_BYTES_MIN) continue;
    parts.delete(name);
    small += bytes;
  }
  return parts.set("smaller parts", small);
}

/** How many bytes data take when packed as the kernel is. Errors: `xz_failed`. */
function packedBytes(data: Uint8Array): number {
  const args = ["--check=none", "--threads=1", "--x86", "--lzma2=lc=4,nice=48", "--stdout"];
  const result = spawnSync("xz", args, { input: data, maxBuffer: data.length + 1024 * 1024 });
  if (result.status !== 0) throw new ThimbleError("xz_failed", `xz failed: ${result.stderr}`);
  return result.stdout.length;
}

/** Shares `total` out in proportion; the shares are whole numbers and add up to it. */
export function shareOut(parts: ReadonlyMap<string, number>, total: number): SizeLine[] {
  const sum = [...parts.values()].reduce((a, b) => a + b, 0);
  let before = 0;
  return [...parts]
    .map(([name, unpackedBytes]) => {
      const from = Math.round((before / sum) * total);
      before += unpackedBytes;
      return { name, unpackedBytes, imageBytes: Math.round((before / sum) * total) - from };
    })
    .sort((a, b) => b.imageBytes - a.imageBytes);
}

/** Looks into what was built. */
export async function makeSizeReport(built: BuildResult, profileName: ProfileName): Promise<SizeReport> {
  const profile = profiles[profileName];
  const tree = await kernelTree({ source: await linuxSource(), settings: await kernelSettings(profile) });
  if (!existsSync(join(tree, "vmlinux"))) {
    const what = `The compiled kernel is no longer in ${tree}: remove build/steps.json, so that it is built again.`;
    throw new ThimbleError("kernel_tree_missing", what);
  }
  const packedWhole = (await stat(join(tree, "arch/x86/boot/compressed/vmlinux.bin.xz"))).size;
  const program = await readFile(built.programPath);
  const packedProgram = packedBytes(program);

  const bytecode = built.bundles.reduce((sum, bundle) => sum + bundle.bytecodeBytes, 0);
  const userland = new Map<string, number>([["engine and bridge", program.length - bytecode]]);
  for (const { role, bytecodeBytes } of built.bundles) userland.set(`bytecode of ${role}`, bytecodeBytes);
  userland.set("rest of the initramfs", built.initramfsBytes - program.length);

  return {
    kernel: shareOut(await kernelParts(tree), packedWhole - packedProgram),
    userland: shareOut(userland, packedProgram),
    unpackedParts: built.imageBytes - packedWhole,
    imageBytes: built.imageBytes,
    imageBytesMax: profile.imageBytesMax,
    romBytes: built.romBytes,
    romFreeBytes: built.romFreeBytes,
    romLevel: built.romLevel,
  };
}

const number = (value: number): string => value.toLocaleString("en-US");

const change = (now: number, before: number | undefined): string => {
  const difference = now - (before ?? 0);
  if (difference === 0) return "";
  return `${difference > 0 ? "+" : "-"}${number(Math.abs(difference))}`;
};

type Row = [name: string, unpacked: string, packed: string, change: string];

/** The report as a table for people; with what changed in the image since `last`, if that is given. */
export function formatSizeReport(report: SizeReport, last?: SizeRecord): string {
  const rows: Row[] = [["", "unpacked", "in the image", last === undefined ? "" : `since ${last.version}`]];
  const sumOf = (lines: readonly SizeLine[], what: "unpackedBytes" | "imageBytes"): number =>
    lines.reduce((sum, line) => sum + line[what], 0);
  const compared = (name: string, now: number): string =>
    last === undefined ? "" : change(now, last.lines[name]);
  const section = (title: string, lines: readonly SizeLine[]): void => {
    rows.push([title, number(sumOf(lines, "unpackedBytes")), number(sumOf(lines, "imageBytes")), ""]);
    for (const { name, unpackedBytes, imageBytes } of lines) {
      rows.push([`  ${name}`, number(unpackedBytes), `~ ${number(imageBytes)}`, compared(name, imageBytes)]);
    }
  };
  section("kernel, packed", report.kernel);
  section("userland, packed", report.userland);
  rows.push([
    "decompressor, EFI stub, headers",
    number(report.unpackedParts),
    number(report.unpackedParts),
    "",
  ]);
  const present = new Set([...report.kernel, ...report.userland].map(({ name }) => name));
  for (const [name, bytes] of Object.entries(last?.lines ?? {})) {
    if (!present.has(name)) rows.push([`  ${name}`, "", "gone", change(0, bytes)]);
  }
  rows.push([
    "image",
    "",
    number(report.imageBytes),
    last === undefined ? "" : change(report.imageBytes, last.imageBytes),
  ]);
  const left = report.imageBytesMax - report.imageBytes;
  rows.push([left < 0 ? "OVER its budget by" : "left of its budget", "", number(Math.abs(left)), ""]);
  rows.push(["flash ROM", "", number(report.romBytes), ""]);
  rows.push([`free in it (level "${report.romLevel}")`, "", number(report.romFreeBytes), ""]);

  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  const cells = (row: Row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
  return rows.map((row) => `${cells(row).join("  ").trimEnd()}\n`).join("");
}

/** Whether the image is within its budget. */
export function withinBudget(report: SizeReport): boolean {
  return report.imageBytes <= report.imageBytesMax;
}
