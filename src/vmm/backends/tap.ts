/** A tap interface of the host: frames with a virtio_net_hdr_v1 before them, read and written in guest memory. */
import { ThimbleError } from "../../base/errors.ts";
import { ascii, bytes, packed, u16 } from "../../base/layout.ts";
import { AF_INET } from "../../sys/address.ts";
import { EAGAIN, EBUSY, EINVAL, ENOBUFS, SystemError } from "../../sys/errno.ts";
import { close, O_NONBLOCK, O_RDWR, open } from "../../sys/fs.ts";
import { ioctl, iow, tryIoctl } from "../../sys/ioctl.ts";
import { EPOLLIN, type EventLoop, type Watch } from "../../sys/loop.ts";
import { SOCK_DGRAM, socket } from "../../sys/socket.ts";
import { readv, writev } from "../../sys/vector-io.ts";
import type { NetBackend, SegmentList } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { IOV_MAX, IovecArray } from "./iovec.ts";

const TUN = "T".charCodeAt(0);
const TUNSETIFF = iow(TUN, 202, 4);
const TUNSETOFFLOAD = iow(TUN, 208, 4);
const TUNSETVNETHDRSZ = iow(TUN, 216, 4);
const SIOCGIFINDEX = 0x8933;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** sizeof(struct virtio_net_hdr_v1): with the number of merged buffers. */
const HEADER_SIZE = 12;

const InterfaceRequest = packed("ifreq", "linux/if.h", { name: ascii(16), flags: u16, rest: bytes(22) });

export class Tap implements NetBackend {
  readonly fd: number;
  readonly #memory: GuestMemory;
  readonly #iovec = new IovecArray();
  readonly #watch: Watch;
  #callback: (() => void) | null = null;

  /** Attaches to an interface that exists. Throws ThimbleError("bad_tap") or SystemError. */
  constructor(name: string, memory: GuestMemory, loop: EventLoop) {
    this.#memory = memory;
    requireInterface(name); // the kernel would make one otherwise, in no bridge
    this.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    try {
      const request = InterfaceRequest.encode({ name, flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR });
      const result = tryIoctl(this.fd, TUNSETIFF, request);
      if (result === -EINVAL) {
        throw new ThimbleError("bad_tap", `the interface ${name} is not a tap with a single queue`);
      }
      if (result === -EBUSY) {
        throw new ThimbleError("bad_tap", `the tap interface ${name} is in use by another program`);
      }
      if (result < 0) throw new SystemError(-result, "TUNSETIFF", name);
      ioctl(this.fd, TUNSETVNETHDRSZ, new Int32Array([HEADER_SIZE]), "TUNSETVNETHDRSZ");
      this.setOffload(0);
      this.#watch = loop.watch(this.fd, 0, () => this.#callback?.());
    } catch (error) {
      close(this.fd);
      throw error;
    }
  }

  send(segments: SegmentList): number {
    this.#iovec.fill(this.#memory, segments);
    const count = Math.min(this.#iovec.count, IOV_MAX);
    const result = writev(this.fd, this.#iovec.words, count);
    return result >= 0 || result === -EAGAIN || result === -ENOBUFS ? 0 : result;
  }

  receive(segments: SegmentList): number {
    this.#iovec.fill(this.#memory, segments);
    const count = Math.min(this.#iovec.count, IOV_MAX);
    const result = readv(this.fd, this.#iovec.words, count);
    return result === -EAGAIN ? 0 : result;
  }

  onReadable(callback: (() => void) | null): void {
    this.#callback = callback;
    this.#watch.setEvents(callback === null ? 0 : EPOLLIN);
  }

  setOffload(flags: number): void {
    ioctl(this.fd, TUNSETOFFLOAD, flags, "TUNSETOFFLOAD");
  }

  close(): void {
    this.#watch.close();
    close(this.fd);
  }
}

function requireInterface(name: string): void {
  const fd = socket(AF_INET, SOCK_DGRAM);
  const result = tryIoctl(fd, SIOCGIFINDEX, InterfaceRequest.encode({ name }));
  close(fd);
  if (result < 0) throw new ThimbleError("bad_tap", `there is no network interface ${name}: make it first`);
}
