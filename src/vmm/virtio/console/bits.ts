/** Names and layouts of the console device: virtio 1.2, 5.3. */
import { packed, u16, u32 } from "../../../base/layout.ts";

/** Feature bit numbers (5.3.3). */
export const ConsoleFeature = { SIZE: 0 } as const;

/** struct virtio_console_config (5.3.4). */
export const ConsoleConfig = packed("virtio_console_config", "virtio 1.2, 5.3.4", {
  cols: u16,
  rows: u16,
  max_nr_ports: u32,
  emerg_wr: u32,
});

/** Queues of port 0 (5.3.2). */
export const ConsoleQueue = { receive: 0, transmit: 1 } as const;
