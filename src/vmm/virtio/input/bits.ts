/** Names and layouts of the input device (virtio 1.2, 5.8), and what it takes from Linux's input-event-codes.h. */
import { bytes, i32, packed, u8, u16, u32 } from "../../../base/layout.ts";

/** Queues (5.8.2). */
export const InputQueue = { event: 0, status: 1 } as const;

/** What the driver may ask the configuration for (5.8.4). */
export const InputSelect = {
  ID_NAME: 0x01,
  ID_SERIAL: 0x02,
  ID_DEVIDS: 0x03,
  PROP_BITS: 0x10,
  EV_BITS: 0x11,
  ABS_INFO: 0x12,
} as const;

/** struct virtio_input_config (5.8.4); `size` bytes of `u` are valid. */
export const InputConfig = packed("virtio_input_config", "virtio 1.2, 5.8.4", {
  select: u8,
  subsel: u8,
  size: u8,
  reserved: bytes(5),
  u: bytes(128),
});
/** struct virtio_input_absinfo (5.8.4). */
export const InputAbsInfo = packed("virtio_input_absinfo", "virtio 1.2, 5.8.4", {
  min: u32,
  max: u32,
  fuzz: u32,
  flat: u32,
  res: u32,
});
/** struct virtio_input_devids (5.8.4). */
export const InputDevIds = packed("virtio_input_devids", "virtio 1.2, 5.8.4", {
  bustype: u16,
  vendor: u16,
  product: u16,
  version: u16,
});
/** struct virtio_input_event (5.8.6). */
export const InputEvent = packed("virtio_input_event", "virtio 1.2, 5.8.6", {
  type: u16,
  code: u16,
  value: i32,
});

/** Event types. */
export const EventType = { SYN: 0, KEY: 1, REL: 2, ABS: 3, LED: 0x11, REP: 0x14 } as const;
export const SYN_REPORT = 0;
export const REL_WHEEL = 8;
export const Axis = { x: 0, y: 1 } as const;
/** Lamps of a keyboard: Num Lock, Caps Lock, Scroll Lock. */
export const LED_COUNT = 3;
/** A pointer's buttons from BTN_LEFT on: left, right, middle. */
export const BTN_LEFT = 0x110;
export const BUS_VIRTUAL = 6;
