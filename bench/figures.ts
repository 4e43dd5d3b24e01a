/** From the lines that the measuring host prints to a table of ratios. */

export const vmms = ["thimble", "qemu-microvm", "qemu-q35"] as const;
export type Vmm = (typeof vmms)[number];

export interface Measure {
  readonly key: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "lower" | "higher";
}

export const measures: readonly Measure[] = [
  { key: "start-ms", title: "start to guest user space", unit: "ms", better: "lower" },
  { key: "memory-kib", title: "memory overhead per VM", unit: "KiB", better: "lower" },
  { key: "sequential-read-kib", title: "sequential read, 1 MiB", unit: "KiB/s", better: "higher" },
  { key: "sequential-write-kib", title: "sequential write, 1 MiB", unit: "KiB/s", better: "higher" },
  { key: "random-read-iops", title: "random read, 4 KiB", unit: "IOPS", better: "higher" },
  { key: "random-write-iops", title: "random write, 4 KiB", unit: "IOPS", better: "higher" },
  { key: "network-kib", title: "network, guest to host", unit: "KiB/s", better: "higher" },
];

/** The median of what was measured, by VMM and measure; what could not be measured is missing. */
export type Figures = Readonly<Record<string, Readonly<Partial<Record<Vmm, number>>>>>;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Reads lines `RESULT vmm measure value`; anything else is passed over. */
export function readFigures(text: string): Figures {
  const values = new Map<string, number[]>();
  for (const [, vmm, key, value] of text.matchAll(/^RESULT (\S+) (\S+) (\d+(?:\.\d+)?)\r?$/gm)) {
    const list = values.get(`${key} ${vmm}`) ?? [];
    list.push(Number(value));
    values.set(`${key} ${vmm}`, list);
  }
  return Object.fromEntries(
    measures.map(({ key }) => [
      key,
      Object.fromEntries(
        vmms.flatMap((vmm) => {
          const list = values.get(`${key} ${vmm}`);
          return list === undefined ? [] : [[vmm, median(list)]];
        }),
      ),
    ]),
  );
}

/** Thimble's figure as a multiple of a peer's. */
export function ratio(figures: Figures, key: string, peer: Vmm): number | undefined {
  const own = figures[key]?.thimble;
  const other = figures[key]?.[peer];
  return own === undefined || other === undefined || other === 0 ? undefined : own / other;
}

/** The figures and ratios as lines of text. */
export function table(figures: Figures): string {
  const show = (value: number | undefined): string => (value === undefined ? "-" : String(Math.round(value)));
  const times = (value: number | undefined): string => (value === undefined ? "-" : `${value.toFixed(2)} ×`);
  const rows = [
    ["", "", ...vmms, "of microvm", "of q35", "better"],
    ...measures.map(({ key, title, unit, better }) => [
      title,
      unit,
      ...vmms.map((vmm) => show(figures[key]?.[vmm])),
      times(ratio(figures, key, "qemu-microvm")),
      times(ratio(figures, key, "qemu-q35")),
      better,
    ]),
  ];
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
