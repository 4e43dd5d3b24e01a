/** Names and layouts of the console device: virtio 1.2, 5.3. */
import { packed, u16, u32 } from "../../../base/layout.ts";

/** Feature bit numbers (5.3.3). */
export const ConsoleFeature = { SIZE: 0, MULTIPORT: 1 } as const;

/** struct virtio_console_config (5.3.4). */
export const ConsoleConfig = packed("virtio_console_config", "virtio 1.2, 5.3.4", {
  cols: u16,
  rows: u16,
  max_nr_ports: u32,
  emerg_wr: u32,
});

/** Queues of port 0 and, with MULTIPORT, of control messages; two for each further port follow (5.3.2). */
export const ConsoleQueue = { receive: 0, transmit: 1, controlReceive: 2, controlTransmit: 3 } as const;

/** struct virtio_console_control (5.3.6.2). */
export const ConsoleControl = packed("virtio_console_control", "virtio 1.2, 5.3.6.2", {
  id: u32,
  event: u16,
  value: u16,
});
export const ConsoleEvent = {
  DEVICE_READY: 0,
  PORT_ADD: 1,
  PORT_READY: 3,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;
