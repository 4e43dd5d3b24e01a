/** Generic netlink: families and groups by name. Source: include/uapi/linux/genetlink.h. */
import { struct, u8, u16 } from "../../base/layout.ts";
import { ENOENT, SystemError } from "../errno.ts";
import { fromCString, utf8Encode } from "../text.ts";
import { decodeAttributes, encodeAttributes, type Message, u32Of } from "./messages.ts";
import { NETLINK_GENERIC, NetlinkSocket } from "./socket.ts";

export const GenericHeader = struct("genlmsghdr", "include/uapi/linux/genetlink.h", {
  command: u8,
  version: u8,
  reserved: u16,
});

const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const ControlAttribute = { familyName: 2, multicastGroups: 7 } as const;
const GroupAttribute = { name: 1, id: 2 } as const;

/** The number of a family's multicast group. Throws SystemError (ENOENT) when the kernel has none of that name. */
export function findMulticastGroup(family: string, group: string): number {
  const socket = new NetlinkSocket(NETLINK_GENERIC);
  try {
    const header = GenericHeader.encode({ command: CTRL_CMD_GETFAMILY, version: 1 });
    const wanted = encodeAttributes([[ControlAttribute.familyName, Uint8Array.of(...utf8Encode(family), 0)]]);
    const [reply] = socket.request(GENL_ID_CTRL, 0, family, header, wanted);
    const id = reply === undefined ? 0 : groupIn(reply, group);
    if (id === 0) throw new SystemError(ENOENT, "netlink", `${family} ${group}`);
    return id;
  } finally {
    socket.close();
  }
}

function groupIn(reply: Message, wanted: string): number {
  const groups = decodeAttributes(reply.body, GenericHeader.size).get(ControlAttribute.multicastGroups);
  for (const group of decodeAttributes(groups ?? new Uint8Array(0)).values()) {
    const attributes = decodeAttributes(group);
    const name = attributes.get(GroupAttribute.name);
    if (name !== undefined && fromCString(name, 0) === wanted)
      return u32Of(attributes.get(GroupAttribute.id));
  }
  return 0;
}
