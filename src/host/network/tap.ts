/** Tap interfaces that outlive the process that makes them, so that VMs keep theirs when the agent is restarted. */
import { ascii, bytes, packed, u16 } from "../../base/layout.ts";
import { close, O_RDWR, open } from "../../sys/fs.ts";
import { ioctl, iow } from "../../sys/ioctl.ts";

const TUN = "T".charCodeAt(0);
const TUNSETIFF = iow(TUN, 202, 4);
const TUNSETPERSIST = iow(TUN, 203, 4);
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

const InterfaceRequest = packed("ifreq", "include/uapi/linux/if.h", {
  name: ascii(16),
  flags: u16,
  rest: bytes(22),
});

/** Makes the interface, or takes the one of that name that exists, with one queue or several. Throws SystemError. */
export function createPersistentTap(name: string, hasSeveralQueues: boolean): void {
  const fd = open("/dev/net/tun", O_RDWR);
  try {
    const several = hasSeveralQueues ? IFF_MULTI_QUEUE : 0;
    const request = InterfaceRequest.encode({ name, flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | several });
    ioctl(fd, TUNSETIFF, request, `TUNSETIFF ${name}`);
    ioctl(fd, TUNSETPERSIST, 1, `TUNSETPERSIST ${name}`);
  } finally {
    close(fd);
  }
}
