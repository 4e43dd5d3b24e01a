/** `channels` and `vsock` of a VMM's configuration. */
import type { ChannelConfig, VsockConfig } from "./config.ts";
import { bad, integer, list, object, socketPath, string } from "./config-values.ts";

/** Ports of the virtio-serial device. */
const CHANNELS_MAX = 8;
const NAME_MAX = 64;
/** 0 and 1 have a meaning of their own, 2 is the host (linux/vm_sockets.h). */
const CID_MIN = 3;
/** VMADDR_CID_ANY, the last number, is nobody's. */
const CID_MAX = 0xffff_fffe;

export const CHANNEL_FIELDS = {
  channels: ["name", "path"],
  vsock: ["cid"],
} as const satisfies Record<string, readonly string[]>;

export function parseChannels(value: unknown): ChannelConfig[] {
  const channels = list(value, "channels", CHANNELS_MAX, (item, field) => {
    const channel = object(item, field, CHANNEL_FIELDS.channels);
    const name = string(channel.name, `${field}.name`, 1, NAME_MAX);
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
      bad(`${field}.name`, 'must be letters, digits, ".", "_" and "-", beginning with a letter or digit');
    }
    return { name, path: socketPath(channel.path, `${field}.path`) };
  });
  channels.forEach(({ name, path }, i) => {
    for (const other of channels.slice(0, i)) {
      if (other.name === name) bad(`channels[${i}].name`, "is another channel's, too");
      if (other.path === path) bad(`channels[${i}].path`, "is another channel's, too");
    }
  });
  return channels;
}

export function parseVsock(value: unknown): VsockConfig {
  const { cid } = object(value, "vsock", CHANNEL_FIELDS.vsock);
  return { cid: integer(cid, "vsock.cid", CID_MIN, CID_MAX) };
}
