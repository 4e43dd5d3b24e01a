/** Channels between guest and host: virtio-serial ports and vsock. */
export { ChannelSocket } from "../backends/channel-socket.ts";
export { VhostVsock } from "../backends/vhost-vsock.ts";
export { VirtioSerial } from "../virtio/serial/device.ts";
export { VirtioVsock } from "../virtio/vsock/device.ts";
