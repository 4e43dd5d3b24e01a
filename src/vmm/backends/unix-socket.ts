/** Listening Unix sockets as bare descriptors, which can be handed over a reset. */
import { AF_UNIX, unixAddress } from "../../sys/address.ts";
import { close, tryUnlink } from "../../sys/fs.ts";
import { bind, listen, SOCK_STREAM, socket } from "../../sys/socket.ts";

const BACKLOG = 16;

/** Listens at a path, replacing a socket that a former process left there. Throws SystemError. */
export function listenUnixSocket(path: string): number {
  const fd = socket(AF_UNIX, SOCK_STREAM);
  try {
    tryUnlink(path);
    bind(fd, unixAddress(path), path);
    listen(fd, BACKLOG);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}
