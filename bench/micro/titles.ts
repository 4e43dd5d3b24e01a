/** What `npm run bench:micro` measures, and what the project aims at. */

/** Issue 4: TypeScript per block request. */
const BLOCK_AIM_US = 1.5;

/** Issue 4: from the API call to the guest's first instruction, natively. */
const START_AIM_US = 10_000;

export interface MicroMeasure {
  readonly name: string;
  readonly title: string;
  readonly aimUs?: number;
  /** Is left out where this machine has no KVM. */
  readonly needsKvm?: boolean;
}

/** The one that is not measured by the runtime itself (start.ts). */
export const START = "vm-start";

export const microMeasures: readonly MicroMeasure[] = [
  { name: "queue-direct", title: "virtqueue: take and return a chain of 3" },
  { name: "blk-read-direct", title: "block request, read 4 KiB", aimUs: BLOCK_AIM_US },
  { name: "blk-write-direct", title: "block request, write 4 KiB", aimUs: BLOCK_AIM_US },
  { name: "queue-indirect", title: "virtqueue, indirect table" },
  { name: "blk-read-indirect", title: "block request, read, indirect", aimUs: BLOCK_AIM_US },
  { name: "blk-write-indirect", title: "block request, write, indirect", aimUs: BLOCK_AIM_US },
  { name: "exit-pio-read", title: "exit, port read (serial port)" },
  { name: "exit-pio-write", title: "exit, port write (serial port)" },
  { name: "exit-mmio-read", title: "exit, MMIO read (virtio configuration)" },
  { name: "exit-mmio-write", title: "exit, MMIO write (virtio configuration)" },
  { name: "net-transmit", title: "packet from the guest, user-space path" },
  { name: "net-receive", title: "packet to the guest, user-space path" },
  { name: START, title: "API call to first guest instruction, CPU", aimUs: START_AIM_US, needsKvm: true },
];

/** What a measure is called in tables. */
export function microTitle(name: string): string {
  return microMeasures.find((measure) => measure.name === name)?.title ?? name;
}
