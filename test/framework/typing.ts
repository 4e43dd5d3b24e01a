/** Typing at a VM's display as a VNC client does. */
import { once } from "node:events";
import { connect } from "node:net";
import type { ApiClient } from "../../src/rig/api-client.ts";
import { sleep } from "../../src/rig/time.ts";

const RETURN = 0xff0d;
/** A fast typist, and slow enough for firmware that polls its keyboard. */
const KEY_MS = 60;

/** Types characters that need no Shift; a line feed is the Return key. */
export async function typeAtDisplay(api: ApiClient, id: string, text: string): Promise<void> {
  const display = await api.display(id);
  const socket = connect(display.port, "127.0.0.1");
  try {
    socket.resume();
    await once(socket, "connect");
    // Version, security type None, shared.
    socket.write(Buffer.from("RFB 003.008\n\x01\x01", "latin1"));
    for (const character of text) {
      const keysym = character === "\n" ? RETURN : character.charCodeAt(0);
      for (const down of [1, 0]) {
        const message = Buffer.from([4, down, 0, 0, 0, 0, 0, 0]);
        message.writeUInt32BE(keysym, 4);
        socket.write(message);
        await sleep(KEY_MS);
      }
    }
  } finally {
    socket.destroy();
    display.close();
  }
}
