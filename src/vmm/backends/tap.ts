/**
 * A tap interface of the host: frames with a virtio_net_hdr_v1 before them, read and written in guest memory. An
 * interface made with several queues (IFF_MULTI_QUEUE) has a descriptor for each.
 */
import { ThimbleError } from "../../base/errors.ts";
import { ascii, bytes, packed, u16 } from "../../base/layout.ts";
import { AF_INET } from "../../sys/address.ts";
import { EAGAIN, EBUSY, EINVAL, ENOBUFS, SystemError } from "../../sys/errno.ts";
import { close, O_NONBLOCK, O_RDWR, open } from "../../sys/fs.ts";
import { ioctl, iow, tryIoctl } from "../../sys/ioctl.ts";
import { EPOLLIN, type EventLoop, type Watch } from "../../sys/loop.ts";
import { SOCK_DGRAM, socket } from "../../sys/socket.ts";
import { addressOf, readv, writev } from "../../sys/vector-io.ts";
import type { NetBackend, SegmentList } from "../contract.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { TunOffload } from "../virtio/net/bits.ts";
import { IOV_MAX, IovecArray } from "./iovec.ts";

const TUN = "T".charCodeAt(0);
const TUNSETIFF = iow(TUN, 202, 4);
const TUNSETOFFLOAD = iow(TUN, 208, 4);
const TUNSETVNETHDRSZ = iow(TUN, 216, 4);
const TUNSETQUEUE = iow(TUN, 217, 4);
const SIOCGIFINDEX = 0x8933;
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_ATTACH_QUEUE = 0x0200;
const IFF_DETACH_QUEUE = 0x0400;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** sizeof(struct virtio_net_hdr_v1): with the number of merged buffers. */
const HEADER_SIZE = 12;
const UDP_SEGMENTATION = TunOffload.CSUM | TunOffload.USO4 | TunOffload.USO6;

const InterfaceRequest = packed("ifreq", "linux/if.h", { name: ascii(16), flags: u16, rest: bytes(22) });

/** ifr_ifindex, behind the name. */
const IFINDEX_AT = 16;

/** The longest frame that the kernel hands over, with its header. */
const OVERFLOW_BYTES = HEADER_SIZE + 65550;
/** One for all queues: nothing stays in it for longer than a call. Made when it is first needed, with vhost-net never. */
let overflow: Uint8Array<ArrayBuffer> | null = null;

function sharedOverflow(): Uint8Array<ArrayBuffer> {
  overflow ??= new Uint8Array(OVERFLOW_BYTES);
  return overflow;
}

/** One queue of a tap interface. */
export class TapQueue implements NetBackend {
  readonly #memory: GuestMemory;
  readonly #iovec = new IovecArray();
  readonly #watch: Watch;
  #callback: (() => void) | null = null;
  #overflowAddress = 0;

  /** `fd` belongs to the queue from now on. */
  constructor(
    readonly fd: number,
    readonly hasUdpSegmentation: boolean,
    memory: GuestMemory,
    loop: EventLoop,
  ) {
    this.#memory = memory;
    this.#watch = loop.watch(fd, 0, () => this.#callback?.());
  }

  send(segments: SegmentList): number {
    this.#iovec.fill(this.#memory, segments);
    const count = Math.min(this.#iovec.count, IOV_MAX);
    const result = writev(this.fd, this.#iovec.words, count);
    return result >= 0 || result === -EAGAIN || result === -ENOBUFS ? 0 : result;
  }

  get overflow(): Uint8Array<ArrayBuffer> {
    return sharedOverflow();
  }

  receive(segments: SegmentList): number {
    this.#iovec.fill(this.#memory, segments);
    if (this.#overflowAddress === 0) this.#overflowAddress = addressOf(sharedOverflow());
    this.#iovec.add(this.#overflowAddress, OVERFLOW_BYTES);
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

  setAttached(attached: boolean): void {
    setAttached(this.fd, attached);
  }

  close(): void {
    this.#watch.close();
    close(this.fd);
  }
}

/**
 * Opens the queues of an interface that exists, the first one attached. How many there are is asked for exactly, or at
 * most: then an interface with a single queue gives that. Throws ThimbleError("bad_tap") or SystemError.
 */
export function openTap(
  name: string,
  queues: { readonly count: number; readonly exactly: boolean },
  memory: GuestMemory,
  loop: EventLoop,
): TapQueue[] {
  interfaceIndex(name); // the kernel would make one otherwise, in no bridge
  const fds: number[] = [];
  try {
    // An interface is one of both kinds, whatever number of queues is wanted of it.
    const several = queues.count > 1;
    let flags = several ? IFF_MULTI_QUEUE : 0;
    let first = openQueue(name, flags);
    if (first === -EINVAL && !(several && queues.exactly)) {
      flags ^= IFF_MULTI_QUEUE;
      first = openQueue(name, flags);
    }
    fds.push(opened(name, first));
    const fd = fds[0] as number;
    ioctl(fd, TUNSETVNETHDRSZ, new Int32Array([HEADER_SIZE]), "TUNSETVNETHDRSZ");
    const hasUdpSegmentation = tryIoctl(fd, TUNSETOFFLOAD, UDP_SEGMENTATION) >= 0;
    ioctl(fd, TUNSETOFFLOAD, 0, "TUNSETOFFLOAD");
    const count = flags === 0 ? 1 : queues.count;
    while (fds.length < count) {
      const fd = opened(name, openQueue(name, flags));
      fds.push(fd);
      setAttached(fd, false);
    }
    return fds.map((fd) => new TapQueue(fd, hasUdpSegmentation, memory, loop));
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  }
}

/** Returns a descriptor or a negative errno. */
function openQueue(name: string, flags: number): number {
  const fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  const request = InterfaceRequest.encode({ name, flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags });
  const result = tryIoctl(fd, TUNSETIFF, request);
  if (result >= 0) return fd;
  close(fd);
  return result;
}

/** The descriptor, or the error as one that says what to do. */
function opened(name: string, result: number): number {
  if (result >= 0) return result;
  if (result === -EINVAL) {
    throw new ThimbleError(
      "bad_tap",
      `the interface ${name} is not a tap with as many queues: make it with several`,
    );
  }
  if (result === -EBUSY) {
    throw new ThimbleError("bad_tap", `the tap interface ${name} is in use by another program`);
  }
  throw new SystemError(-result, "TUNSETIFF", name);
}

function setAttached(fd: number, attached: boolean): void {
  const flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
  ioctl(fd, TUNSETQUEUE, InterfaceRequest.encode({ flags }), "TUNSETQUEUE");
}

/** The number of an interface. Throws ThimbleError("bad_tap") when there is none of that name. */
export function interfaceIndex(name: string): number {
  const request = InterfaceRequest.encode({ name });
  const fd = socket(AF_INET, SOCK_DGRAM);
  const result = tryIoctl(fd, SIOCGIFINDEX, request);
  close(fd);
  if (result < 0) throw new ThimbleError("bad_tap", `there is no network interface ${name}: make it first`);
  return new Int32Array(request.buffer)[IFINDEX_AT / 4] as number;
}
