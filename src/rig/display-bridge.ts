/** A VM's display as a TCP port of this machine, for VNC clients that do not speak WebSocket. */
import { createServer, type Server, type Socket } from "node:net";
import WebSocket, { createWebSocketStream } from "ws";

export class DisplayBridge {
  private constructor(
    readonly port: number,
    readonly server: Server,
    readonly sockets: Set<Socket>,
  ) {}

  /** Every TCP connection becomes a WebSocket connection of its own to `url`. */
  static open(url: string, token: string): Promise<DisplayBridge> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      const display = new WebSocket(url, "binary", {
        headers: { authorization: `Bearer ${token}` },
        perMessageDeflate: false,
      });
      const stream = createWebSocketStream(display);
      const end = () => {
        sockets.delete(socket);
        socket.destroy();
        display.terminate();
      };
      for (const each of [socket, stream]) each.on("error", end).on("close", end);
      socket.pipe(stream).pipe(socket);
    });
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        const port = typeof address === "object" && address !== null ? address.port : 0;
        resolve(new DisplayBridge(port, server, sockets));
      });
    });
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}
