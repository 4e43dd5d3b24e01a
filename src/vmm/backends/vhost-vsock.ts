/** vhost-vsock: the kernel moves packets between the guest's rings and AF_VSOCK sockets of the host by itself. */
import { close, O_RDWR, open } from "../../sys/fs.ts";
import { ioctl, iow, tryIoctl } from "../../sys/ioctl.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { Feature } from "../virtio/bits.ts";
import { features } from "../virtio/device.ts";
import { VsockFeature } from "../virtio/vsock/bits.ts";
import { VHOST, Vhost } from "./vhost.ts";

const DEVICE = "/dev/vhost-vsock";
const VHOST_VSOCK_SET_GUEST_CID = iow(VHOST, 0x60, 8);
const VHOST_VSOCK_SET_RUNNING = iow(VHOST, 0x61, 4);
const RING_FEATURES = features(
  Feature.VERSION_1,
  Feature.RING_EVENT_IDX,
  Feature.RING_INDIRECT_DESC,
  VsockFeature.SEQPACKET,
);

export class VhostVsock extends Vhost {
  /** Throws SystemError: ENOENT where the host has none, EADDRINUSE when the context id is another VM's. */
  static open(memory: GuestMemory, cid: number): VhostVsock {
    const fd = open(DEVICE, O_RDWR);
    try {
      const device = new VhostVsock(fd, memory, RING_FEATURES);
      ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, new Uint32Array([cid, 0]), `context id ${cid}`);
      return device;
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  protected run(_rings: number, on: boolean): boolean {
    return tryIoctl(this.fd, VHOST_VSOCK_SET_RUNNING, new Int32Array([on ? 1 : 0])) >= 0;
  }
}
