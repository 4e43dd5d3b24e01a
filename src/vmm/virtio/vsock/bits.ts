/** Names and layouts of the socket device: virtio 1.2, 5.10. */
import { packed, u32, u64 } from "../../../base/layout.ts";

/** Feature bit numbers (5.10.3). Stream sockets need none. */
export const VsockFeature = { SEQPACKET: 1 } as const;

/** struct virtio_vsock_config (5.10.4). */
export const VsockConfigSpace = packed("virtio_vsock_config", "virtio 1.2, 5.10.4", { guest_cid: u64 });

/** 5.10.2. */
export const VsockQueue = { receive: 0, transmit: 1, event: 2 } as const;

/** struct virtio_vsock_event (5.10.6.7). */
export const VsockEvent = packed("virtio_vsock_event", "virtio 1.2, 5.10.6.7", { id: u32 });
export const VSOCK_EVENT_TRANSPORT_RESET = 0;
