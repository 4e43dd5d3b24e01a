/** TCP ports of the loopback interface that nobody uses. */

import type { AddressInfo } from "node:net";
import { createServer } from "node:net";

/** A port that was free a moment ago. Another process may take it before the caller does: be ready to try again. */
export function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
