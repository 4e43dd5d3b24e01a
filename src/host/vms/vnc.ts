/** A WebSocket client at a VM's display: RFB bytes both ways, on a connection of its own to the VMM. */
import type { WebSocketConnection } from "../http/websocket.ts";
import { CloseCode } from "../http/websocket-frames.ts";
import type { Connection } from "../platform/platform.ts";

/**
 * What noVNC and its like ask for, and may be told that they have. WebSockets without it carry the same bytes.
 */
export const VNC_SUBPROTOCOL = "binary";

/** Relays until either side has ended. A reset of the machine ends it too: RFB begins anew then. */
export async function relayVnc(vmm: Connection, socket: WebSocketConnection): Promise<void> {
  const fromClient = (async () => {
    try {
      for (let message = await socket.receive(); message !== null; message = await socket.receive()) {
        await vmm.write(message.data);
      }
    } catch {
      // The VMM is gone: the other direction says so.
    }
    vmm.close();
  })();
  try {
    for (let bytes = await vmm.read(); bytes !== null; bytes = await vmm.read()) await socket.send(bytes);
  } catch {
    // Broken: as good as closed.
  }
  await socket.close(CloseCode.Normal, "the display is gone");
  await fromClient;
}
