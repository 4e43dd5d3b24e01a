/** From the lines that the measuring host prints to results: a table for people and an object for programs. */
import { type Measure, measures, type Peer, type Vmm, vmms } from "./measures.ts";

/** One measure of all VMMs; null where a VMM has no such thing. */
export interface Result {
  readonly name: string;
  readonly thimble: number;
  readonly peers: Readonly<Record<Peer, number | null>>;
  readonly unit: string;
  readonly betterIs: "lower" | "higher";
}

/** What a run gave: whole results, and what should have been measured and was not. */
export interface Outcome {
  readonly results: readonly Result[];
  readonly missing: readonly string[];
}

/** Of several rounds the best counts: other work on the machine makes some worse, none better. */
function best(values: readonly number[], betterIs: "lower" | "higher"): number {
  return betterIs === "lower" ? Math.min(...values) : Math.max(...values);
}

/** Four significant digits: nothing here is measured better. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

/** Reads lines `RESULT vmm measure value` of the parts that ran; of several values the best counts. */
export function readResults(text: string, parts: readonly string[]): Outcome {
  const values = new Map<string, number[]>();
  for (const [, vmm, key, value] of text.matchAll(/^RESULT (\S+) (\S+) (\d+(?:\.\d+)?)\r?$/gm)) {
    const list = values.get(`${key} ${vmm}`) ?? [];
    list.push(Number(value));
    values.set(`${key} ${vmm}`, list);
  }
  const missing = [...text.matchAll(/^RESULT (\S+) failed ([^\r\n]+)/gm)].map(
    ([, vmm, what]) => `${vmm}: ${what} failed`,
  );
  const results = measures
    .filter(({ part }) => parts.includes(part))
    .flatMap((measure) => {
      const figure = (vmm: Vmm): number | null => {
        const list = values.get(`${measure.key} ${vmm}`);
        if (list !== undefined) return rounded(best(list, measure.betterIs) * (measure.scale ?? 1));
        if (isMeasured(measure, vmm)) missing.push(`${vmm}: ${measure.key}`);
        return null;
      };
      const [thimble, q35, microvm] = vmms.map(figure) as [number | null, number | null, number | null];
      if (thimble === null) return [];
      const { key: name, unit, betterIs } = measure;
      return [{ name, thimble, peers: { "qemu-q35": q35, "qemu-microvm": microvm }, unit, betterIs }];
    });
  return { results, missing };
}

function isMeasured(measure: Measure, vmm: Vmm): boolean {
  return vmm === "thimble" || (measure.peers?.includes(vmm) ?? true);
}

/** How many times as good as a peer Thimble is; above 1 is better, whichever way the unit counts. */
export function timesAsGood(result: Result, peer: Peer): number | null {
  const other = result.peers[peer];
  if (other === null || other === 0 || result.thimble === 0) return null;
  return result.betterIs === "higher" ? result.thimble / other : other / result.thimble;
}

/** What a measure is called in tables. */
export function titleOf(name: string): string {
  return measures.find(({ key }) => key === name)?.title ?? name;
}

/** Rows of cells: the head, then one row a result. */
export function tableRows(results: readonly Result[]): string[][] {
  const show = (value: number | null): string => (value === null ? "-" : String(value));
  const times = (value: number | null): string => (value === null ? "-" : `${value.toFixed(2)} ×`);
  return [
    ["", "unit", ...vmms, "as good as q35", "as microvm"],
    ...results.map((result) => [
      titleOf(result.name),
      result.unit,
      show(result.thimble),
      show(result.peers["qemu-q35"]),
      show(result.peers["qemu-microvm"]),
      times(timesAsGood(result, "qemu-q35")),
      times(timesAsGood(result, "qemu-microvm")),
    ]),
  ];
}

/** The results as lines of text. */
export function table(results: readonly Result[]): string {
  const rows = tableRows(results);
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
