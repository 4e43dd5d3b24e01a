/**
 * Writes docs/benchmarks.md and docs/benchmarks.svg from what the last runs of `npm run bench` and `npm run bench:micro`
 * left in build/: node --import tsx bench/docs.ts
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../src/rig/paths.ts";
import { chart } from "./chart.ts";
import { type Result, tableRows } from "./figures.ts";
import { microTitle } from "./micro/titles.ts";
import { type Circumstances, type MicroResult, type RunRecord, readRecord } from "./record.ts";

const accelerators: Record<string, string> = {
  tcg: "a server whose processor QEMU emulates, hardware virtualization included: absolute figures are far from real hardware's",
  kvm: "a server in a virtual machine with nested virtualization",
};

const markdownTable = (rows: readonly (readonly string[])[]): string => {
  const [head = [], ...body] = rows;
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = head.map((_, column) => (column < 2 ? "---" : "---:"));
  return [head, rule, ...body].map(line).join("\n");
};

const when = ({ date, machine }: Circumstances): string =>
  `Measured ${date.slice(0, 16).replace("T", " ")} UTC on ${machine}`;

function page(record: RunRecord<Result>, micro: RunRecord<MicroResult> | null): string {
  const parts = [
    "# Benchmarks",
    "The same guests under Thimble and under Debian's QEMU (machines q35 and microvm), one after the other in one simulated server.\n" +
      "[bench/README.md](../bench/README.md) says how each figure comes about. This page and its chart are made from a run's\n" +
      "results by `bench/docs.ts`.",
    "![Thimble beside QEMU: how many times as good, by measure](benchmarks.svg)",
    "A mark at an end of the axis is there or beyond.",
    `${when(record)}, in ${accelerators[record.accelerator ?? ""] ?? "a simulated server"}.${record.note === undefined ? "" : ` ${record.note}`}`,
    markdownTable(tableRows(record.results)),
  ];
  if (micro !== null) {
    const rows = micro.results.map(({ name, thimble, aim }) => [
      microTitle(name),
      thimble.toFixed(2),
      aim === undefined ? "" : aim.toFixed(2),
    ]);
    parts.push(
      "## TypeScript alone",
      `${when(micro)}, natively, on the image's runtime (\`npm run bench:micro\`).`,
      markdownTable([["", "µs", "aim"], ...rows]),
    );
  }
  return `${parts.join("\n\n")}\n`;
}

const record = readRecord<Result>("bench");
if (record === null) {
  process.stderr.write("there are no results: run npm run bench first\n");
  process.exitCode = 1;
} else {
  const directory = join(repositoryRoot, "docs");
  writeFileSync(join(directory, "benchmarks.svg"), chart(record.results));
  writeFileSync(join(directory, "benchmarks.md"), page(record, readRecord<MicroResult>("bench-micro")));
}
