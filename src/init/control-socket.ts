/**
 * Where the host agent asks init for what only PID 1 does: a Unix socket for root, one JSON object a line.
 * `{"op":"power-off"}` and `{"op":"restart"}` are answered with `{"ok":true}` before they begin.
 */
import { messageOf } from "../base/errors.ts";
import { chmod } from "../sys/fs.ts";
import { listenUnix } from "../sys/listener.ts";
import type { Logger } from "../sys/log.ts";
import type { EventLoop } from "../sys/loop.ts";
import type { Stream } from "../sys/stream.ts";
import { utf8Decode, utf8Encode } from "../sys/text.ts";
import type { PowerAction } from "./power.ts";

export const INIT_SOCKET = "/run/thimble/init.sock";

const LINE_MAX = 1024;
const OWNER_ONLY = 0o600;

/** The action a line asks for; null when it is no request. */
export function parseRequest(line: string): PowerAction | null {
  let request: unknown;
  try {
    request = JSON.parse(line);
  } catch {
    return null;
  }
  const op = typeof request === "object" && request !== null ? (request as { op?: unknown }).op : undefined;
  return op === "power-off" || op === "restart" ? op : null;
}

/** Serves it from now on. Throws SystemError. */
export function serveControlSocket(
  loop: EventLoop,
  log: Logger,
  onRequest: (action: PowerAction) => void,
): void {
  listenUnix(loop, INIT_SOCKET, (stream) => {
    serve(stream, onRequest).catch((error: unknown) => log.warn(`control socket: ${messageOf(error)}`));
  });
  chmod(INIT_SOCKET, OWNER_ONLY);
}

async function serve(stream: Stream, onRequest: (action: PowerAction) => void): Promise<void> {
  try {
    let text = "";
    for (;;) {
      const data = await stream.read();
      if (data === null) return;
      text += utf8Decode(data);
      const end = text.indexOf("\n");
      if (end < 0 && text.length > LINE_MAX) return;
      if (end < 0) continue;
      const action = parseRequest(text.slice(0, end));
      text = text.slice(end + 1);
      const answer = action === null ? { ok: false, message: "unknown request" } : { ok: true };
      await stream.write(utf8Encode(`${JSON.stringify(answer)}\n`));
      if (action !== null) onRequest(action);
    }
  } finally {
    stream.close();
  }
}
