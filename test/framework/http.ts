/** Files and text over HTTP, for guests: on a loopback port of this machine, which the simulated network leads to. */
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

export interface WebServer {
  /** As guests reach it. */
  readonly url: string;
  /** Requests so far: method, path and client program. */
  readonly asked: readonly string[];
  close(): void;
}

/** The simulated network's name for the machine that runs the tests. */
const HOST_IN_GUESTS = "10.0.2.2";

async function serve(answer: RequestListener): Promise<WebServer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers["user-agent"] ?? ""}`);
    answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://${HOST_IN_GUESTS}:${(server.address() as AddressInfo).port}`;
  return {
    url,
    asked,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Serves one text, whatever is asked for. */
export function serveText(text: string): Promise<WebServer> {
  return serve((_request, response) => response.end(text));
}

/** Serves files by their paths in the URL; 404 for all else. */
export function serveFiles(files: Readonly<Record<string, string>>): Promise<WebServer> {
  return serve((request, response) => {
    const file = files[request.url ?? ""];
    if (file === undefined) response.writeHead(404).end();
    else createReadStream(file).pipe(response);
  });
}
