/**
 * A WebSocket client at a VM's serial port. Each client has a connection of its own to the VMM, which sends what was
 * printed last first and drops clients that do not read. A reset of the guest closes that connection for a moment;
 * the client does not notice.
 */
import type { WebSocketConnection } from "../http/websocket.ts";
import { CloseCode } from "../http/websocket-frames.ts";
import { type Connection, type Platform, sleep } from "../platform/platform.ts";

/** How long a VMM may take to listen again after a reset, tried in steps. */
const RECONNECT_STEPS = 40;
const RECONNECT_STEP_MS = 50;
/** Connections in a row on which not a byte came: the VMM takes no more clients. A guest that prints nothing counts once. */
const REFUSALS_MAX = 10;

/** Relays until either side has ended. `socketPath` throws when the VM is off. */
export async function relayConsole(
  platform: Pick<Platform, "after" | "connectUnix">,
  socket: WebSocketConnection,
  socketPath: () => string,
): Promise<void> {
  const state: { serial: Connection | null; over: boolean } = { serial: null, over: false };
  state.serial = await connect(platform, socketPath, () => false); // before anything typed is read
  const fromClient = (async () => {
    for (let message = await socket.receive(); message !== null; message = await socket.receive()) {
      // Typed while the guest is being reset: as lost as at a real serial port.
      await state.serial?.write(message.data).catch(() => {});
    }
    state.over = true;
    state.serial?.close();
  })();
  let refusals = 0;
  while (state.serial !== null && refusals < REFUSALS_MAX) {
    refusals = (await copyOutput(state.serial, socket)) ? 0 : refusals + 1;
    state.serial.close();
    state.serial = null;
    if (state.over) break;
    await sleep(platform, RECONNECT_STEP_MS);
    state.serial = await connect(platform, socketPath, () => state.over);
  }
  state.serial?.close();
  if (refusals < REFUSALS_MAX) await socket.close(CloseCode.Normal, "the VM is off");
  else await socket.close(CloseCode.TryAgainLater, "the console has too many clients");
  await fromClient;
}

async function connect(
  platform: Pick<Platform, "after" | "connectUnix">,
  socketPath: () => string,
  isOver: () => boolean,
): Promise<Connection | null> {
  for (let step = 0; step < RECONNECT_STEPS && !isOver(); step++) {
    let path: string;
    try {
      path = socketPath();
    } catch {
      return null;
    }
    const connection = await platform.connectUnix(path).catch(() => null);
    if (connection !== null) {
      if (!isOver()) return connection;
      connection.close();
      return null;
    }
    await sleep(platform, RECONNECT_STEP_MS);
  }
  return null;
}

/** Until the VMM closes the connection, or someone does. Says whether anything came. */
async function copyOutput(serial: Connection, socket: WebSocketConnection): Promise<boolean> {
  let any = false;
  try {
    for (let bytes = await serial.read(); bytes !== null; bytes = await serial.read()) {
      any = true;
      await socket.send(bytes);
    }
  } catch {
    // Broken: as good as closed.
  }
  return any;
}
