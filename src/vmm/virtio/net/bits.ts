/** Names and layouts of the network device: virtio 1.2, 5.1; and the tap's offload bits (linux/if_tun.h). */
import { bytes, packed, u8, u16, u32 } from "../../../base/layout.ts";

/** Feature bit numbers (5.1.3). */
export const NetFeature = {
  CSUM: 0,
  GUEST_CSUM: 1,
  CTRL_GUEST_OFFLOADS: 2,
  MAC: 5,
  GUEST_TSO4: 7,
  GUEST_TSO6: 8,
  GUEST_ECN: 9,
  HOST_TSO4: 11,
  HOST_TSO6: 12,
  HOST_ECN: 13,
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  CTRL_RX_EXTRA: 20,
  MQ: 22,
  CTRL_MAC_ADDR: 23,
  GUEST_USO4: 54,
  GUEST_USO6: 55,
  HOST_USO: 56,
} as const;

/** struct virtio_net_config (5.1.4), as far as the features offered reach. */
export const NetConfig = packed("virtio_net_config", "virtio 1.2, 5.1.4", {
  mac: bytes(6),
  status: u16,
  max_virtqueue_pairs: u16,
  mtu: u16,
});
export const NET_STATUS_LINK_UP = 1;

/** struct virtio_net_hdr (5.1.6) with VERSION_1: always with num_buffers. */
export const NetHeader = packed("virtio_net_hdr", "virtio 1.2, 5.1.6", {
  flags: u8,
  gso_type: u8,
  hdr_len: u16,
  gso_size: u16,
  csum_start: u16,
  csum_offset: u16,
  num_buffers: u16,
});

/** Queues without VIRTIO_NET_F_MQ (5.1.2). With it, each pair has the first two and `control` comes after the last. */
export const NetQueue = { receive: 0, transmit: 1, control: 2 } as const;
export const QUEUES_PER_PAIR = 2;

/** struct virtio_net_ctrl: class and command precede the data, an ack byte follows (5.1.6.5). */
export const CtrlHeader = packed("virtio_net_ctrl", "virtio 1.2, 5.1.6.5", { class: u8, command: u8 });
export const CtrlAck = { OK: 0, ERR: 1 } as const;
export const CtrlClass = { RX: 0, MAC: 1, MQ: 4, GUEST_OFFLOADS: 5 } as const;
/** Commands of class RX (5.1.6.5.1) are 0 to 5, each with one byte: on or off. */
export const CTRL_RX_COMMANDS = 6;
export const CtrlMac = { TABLE_SET: 0, ADDR_SET: 1 } as const;
export const CTRL_MQ_VQ_PAIRS_SET = 0;
export const CtrlMq = packed("virtio_net_ctrl_mq", "virtio 1.2, 5.1.6.5.5", { virtqueue_pairs: u16 });
export const CTRL_GUEST_OFFLOADS_SET = 0;
/** Features as in negotiation, in two halves: as one number they would lose bits. */
export const CtrlGuestOffloads = packed("offloads", "virtio 1.2, 5.1.6.5.6", { low: u32, high: u32 });
export const CtrlMacTable = packed("virtio_net_ctrl_mac", "virtio 1.2, 5.1.6.5.2", { entries: u32 });

/** What the reader of a tap accepts: TUNSETOFFLOAD. */
export const TunOffload = {
  CSUM: 0x01,
  TSO4: 0x02,
  TSO6: 0x04,
  TSO_ECN: 0x08,
  USO4: 0x20,
  USO6: 0x40,
} as const;

export const MAC_SIZE = 6;
