/** vhost-net: the kernel moves frames between the guest's rings and the tap by itself. */
import { close, O_RDWR, tryOpen } from "../../sys/fs.ts";
import { iow } from "../../sys/ioctl.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { Feature } from "../virtio/bits.ts";
import { features } from "../virtio/device.ts";
import { NetFeature } from "../virtio/net/bits.ts";
import { NO_FD, VHOST, Vhost, VringFile } from "./vhost.ts";

const DEVICE = "/dev/vhost-net";
const VHOST_NET_SET_BACKEND = iow(VHOST, 0x30, VringFile.size);
/** What the kernel must know of; everything else a driver negotiates concerns the tap alone. */
const RING_FEATURES = features(
  Feature.VERSION_1,
  Feature.RING_EVENT_IDX,
  Feature.RING_INDIRECT_DESC,
  NetFeature.MRG_RXBUF,
);

export class VhostNet extends Vhost {
  readonly #tapFd: number;

  /** Returns null where there is no vhost-net to be had. Throws SystemError when it has one but refuses. */
  static open(memory: GuestMemory, tapFd: number): VhostNet | null {
    const fd = tryOpen(DEVICE, O_RDWR);
    if (fd < 0) return null;
    try {
      return new VhostNet(fd, memory, tapFd);
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  private constructor(fd: number, memory: GuestMemory, tapFd: number) {
    super(fd, memory, RING_FEATURES);
    this.#tapFd = tapFd;
  }

  protected run(rings: number, on: boolean): boolean {
    let isDone = true;
    for (let index = 0; index < rings; index++) {
      if (!this.setFile(VHOST_NET_SET_BACKEND, index, on ? this.#tapFd : NO_FD)) isDone = false;
    }
    return isDone;
  }
}
