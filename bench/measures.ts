/** What `npm run bench` measures: the keys that the measuring host prints, and what they mean. */

export const vmms = ["thimble", "qemu-q35", "qemu-microvm"] as const;
export type Vmm = (typeof vmms)[number];
export type Peer = Exclude<Vmm, "thimble">;

export interface Measure {
  /** As in the line `RESULT vmm key value`. */
  readonly key: string;
  /** Which file files/part-PART.sh prints it. */
  readonly part: string;
  readonly title: string;
  readonly unit: string;
  readonly betterIs: "lower" | "higher";
  /** What a printed value is multiplied with to be in `unit`. Absent: 1. */
  readonly scale?: number;
  /** Peers that have the thing measured. Absent: all. */
  readonly peers?: readonly Peer[];
}

const KIB_IN_MIB = 1 / 1024;
/** The host prints CPU time as milliseconds for a million units: KiB here. */
const SECONDS_PER_GIB = (1024 * 1024) / 1e6 / 1000;
/** Units are operations here. */
const SECONDS_PER_100K = 0.1 / 1000;

const rate = (part: string, key: string, title: string, unit: string, scale = 1): Measure => ({
  part,
  key,
  title,
  unit,
  betterIs: "higher",
  scale,
});
const cpu = (part: string, key: string, title: string, unit: string, scale: number): Measure => ({
  part,
  key: `${key}-cpu`,
  title: `CPU for ${title}`,
  unit,
  betterIs: "lower",
  scale,
});

const disk: readonly Measure[] = [
  ...["read", "write"].flatMap((way) => [
    rate("disk", `disk-${way}-sequential`, `disk ${way}, 1 MiB pieces`, "MiB/s", KIB_IN_MIB),
    cpu("disk", `disk-${way}-sequential`, `disk ${way}, 1 MiB pieces`, "s/GiB", SECONDS_PER_GIB),
    rate("disk", `disk-${way}-4k-1`, `disk ${way}, 4 KiB, depth 1`, "1/s"),
    rate("disk", `disk-${way}-4k-32`, `disk ${way}, 4 KiB, depth 32`, "1/s"),
    cpu("disk", `disk-${way}-4k-32`, `disk ${way}, 4 KiB, depth 32`, "s/100k", SECONDS_PER_100K),
  ]),
];

const network: readonly Measure[] = [
  ["vhost", "vhost-net"],
  ["user", "VMM"],
].flatMap(([kind, who]) => [
  rate("network", `${kind}-send`, `network, guest to host, by ${who}`, "MiB/s", KIB_IN_MIB),
  cpu("network", `${kind}-send`, `guest to host, by ${who}`, "s/GiB", SECONDS_PER_GIB),
  rate("network", `${kind}-receive`, `network, host to guest, by ${who}`, "MiB/s", KIB_IN_MIB),
  cpu("network", `${kind}-receive`, `host to guest, by ${who}`, "s/GiB", SECONDS_PER_GIB),
  rate("network", `${kind}-round-trips`, `network round trips, by ${who}`, "1/s"),
  cpu("network", `${kind}-round-trips`, `round trips, by ${who}`, "s/100k", SECONDS_PER_100K),
]);

export const measures: readonly Measure[] = [
  { part: "start", key: "start", title: "start to user space", unit: "ms", betterIs: "lower" },
  {
    part: "start",
    key: "start-uefi",
    title: "start to user space through UEFI",
    unit: "ms",
    betterIs: "lower",
    peers: ["qemu-q35"],
  },
  rate("exits", "exits-port", "exits, port read", "1/s"),
  rate("exits", "exits-mmio", "exits, MMIO read", "1/s"),
  ...disk,
  ...network,
  ...[1, 10, 50].map(
    (count): Measure => ({
      part: "memory",
      key: `memory-${count}`,
      title: `memory beside the guest's, ${count === 1 ? "1 VM" : `each of ${count} VMs`}${count === 50 ? ", halted" : ""}`,
      unit: "MiB",
      betterIs: "lower",
      scale: KIB_IN_MIB,
    }),
  ),
];

/** The parts in the order in which they are measured. */
export const parts: readonly string[] = [...new Set(measures.map(({ part }) => part))];
