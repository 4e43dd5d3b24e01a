/**
 * The HTTP/1.1 server: one loop per connection that reads a head, calls the handler, writes the answer.
 *
 * Requests of a connection are served one after the other, so pipelined ones are answered in order. Nothing is read
 * ahead of what a handler asks for: a body of gigabytes passes through 64 KiB at a time.
 */
import { messageOf } from "../../base/errors.ts";
import { utf8Encode } from "../../sys/text.ts";
import { join } from "../join.ts";
import type { Connection, Platform } from "../platform/platform.ts";
import { BodyDecoder } from "./body.ts";
import { BodyReader } from "./body-reader.ts";
import { errorBody, RequestError } from "./errors.ts";
import { HeadParser, type RequestHead } from "./head.ts";
import { DEFAULT_LIMITS, type ServerLimits } from "./limits.ts";
import { encodeChunk, encodeHead, LAST_CHUNK } from "./response-writer.ts";
import { TimedConnection } from "./timed-connection.ts";
import { acceptHandshake, WebSocketConnection } from "./websocket.ts";

/** Talks over a WebSocket; the connection is closed when it resolves. */
export type WebSocketSession = (socket: WebSocketConnection) => Promise<void>;

/** What a handler can do beside answering. */
export interface Exchange {
  /**
   * Turns the connection into a WebSocket after the handler's return. `subprotocol` is agreed on when the client offers
   * it. Throws RequestError when the connection cannot be one.
   */
  upgrade(session: WebSocketSession, subprotocol?: string): Response;
}

/** Answers a request. What it throws becomes status 500. */
export type Handler = (request: Request, exchange: Exchange) => Response | Promise<Response>;

type ServerPlatform = Pick<Platform, "after" | "log">;

export class HttpServer {
  readonly #platform: ServerPlatform;
  readonly #handler: Handler;
  readonly #limits: ServerLimits;
  readonly #connections = new Set<Connection>();

  constructor(platform: ServerPlatform, handler: Handler, limits: ServerLimits = DEFAULT_LIMITS) {
    this.#platform = platform;
    this.#handler = handler;
    this.#limits = limits;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Serves a connection until it ends. Never throws. */
  async serve(connection: Connection): Promise<void> {
    if (this.#connections.size >= this.#limits.connectionsMax) {
      connection.close();
      return;
    }
    this.#connections.add(connection);
    try {
      const serving = new Serving(this.#platform, this.#handler, this.#limits, connection);
      while (await serving.next());
    } catch (error) {
      this.#platform.log.debug(`connection from ${connection.remote}: ${messageOf(error)}`);
    } finally {
      connection.close();
      this.#connections.delete(connection);
    }
  }

  /** Closes all connections. */
  close(): void {
    for (const connection of [...this.#connections]) connection.close();
  }
}

/** One connection being served. */
class Serving {
  readonly #input: TimedConnection;

  constructor(
    private readonly platform: ServerPlatform,
    private readonly handler: Handler,
    private readonly limits: ServerLimits,
    private readonly connection: Connection,
  ) {
    this.#input = new TimedConnection(platform, connection);
  }

  /** Serves one request. Says whether another may follow. */
  async next(): Promise<boolean> {
    let head: RequestHead | null;
    try {
      head = await this.#readHead();
    } catch (error) {
      await this.#answer(null, errorResponse(error), false);
      return false;
    }
    if (head === null) return false;
    const body = new BodyReader(new BodyDecoder(head.framing), this.#input, this.limits.bodyMs, async () => {
      if (head.expectsContinue) await this.#write(utf8Encode("HTTP/1.1 100 Continue\r\n\r\n"));
    });
    let session: { readonly handshake: string; readonly run: WebSocketSession } | null = null;
    const exchange: Exchange = {
      upgrade(run, subprotocol) {
        session = { handshake: acceptHandshake(head, subprotocol), run };
        return new Response(null);
      },
    };
    const response = await this.#call(head, body, exchange);
    const reusable = body.finish() && head.keepAlive;
    const upgrade = session as { readonly handshake: string; readonly run: WebSocketSession } | null;
    if (upgrade !== null && response.ok) {
      await this.#write(utf8Encode(upgrade.handshake));
      await upgrade.run(new WebSocketConnection(this.platform, this.connection, this.#input.takeInput()));
      return false;
    }
    await this.#answer(head, response, reusable);
    return reusable;
  }

  async #readHead(): Promise<RequestHead | null> {
    const parser = new HeadParser();
    let deadline: (() => void) | null = null;
    let late = false;
    try {
      for (;;) {
        const bytes = await this.#input.read(this.limits.idleMs);
        if (bytes === null) return null;
        const rest = parser.feed(bytes);
        if (rest !== null) {
          this.#input.unread(rest);
          return parser.head;
        }
        if (parser.started) {
          deadline ??= this.platform.after(this.limits.headMs, () => {
            late = true;
            this.connection.close();
          });
        }
      }
    } finally {
      deadline?.();
      if (late) this.platform.log.debug(`${this.connection.remote}: the request's head took too long`);
    }
  }

  async #call(head: RequestHead, body: BodyReader, exchange: Exchange): Promise<Response> {
    try {
      // The client's idea of the host's name is of no use here, and not to be trusted.
      const request = new Request(`http://host${head.target}`, {
        method: head.method,
        headers: head.headers.map(([name, value]): [string, string] => [name, value]),
        ...(head.framing.kind === "none" ? {} : { body: streamOf(body), duplex: "half" }),
      });
      return await this.handler(request, exchange);
    } catch (error) {
      if (!(error instanceof RequestError)) {
        this.platform.log.error(`${head.method} ${head.target}: ${messageOf(error)}`);
      }
      return errorResponse(error);
    }
  }

  /** Writes an answer; `head` is null when the request had none. */
  async #answer(head: RequestHead | null, response: Response, keepAlive: boolean): Promise<void> {
    const headers = [...response.headers].filter(([name]) => name !== "content-length");
    const declared = response.headers.get("content-length");
    const reader = response.body?.getReader() ?? null;
    try {
      const first = reader === null || head?.method === "HEAD" ? null : await nextPiece(reader);
      if (first === null || reader === null) {
        const framing =
          response.status === 204 ? "no-body" : { lengthBytes: declared === null ? 0 : Number(declared) };
        await this.#write(encodeHead(response.status, headers, framing, keepAlive));
      } else if (declared !== null) {
        const lengthBytes = Number(declared);
        await this.#write(join(encodeHead(response.status, headers, { lengthBytes }, keepAlive), first));
        await this.#writeRest(reader, lengthBytes - first.length);
      } else {
        await this.#writeUnmeasured(head, response.status, headers, keepAlive, first, reader);
      }
    } finally {
      await reader?.cancel().catch(() => {});
    }
    if (!keepAlive) await this.#input.linger(this.limits.lingerMs);
  }

  /** The rest of a body whose length the client was told. Throws when the source gives another amount. */
  async #writeRest(reader: Reader, lengthBytes: number): Promise<void> {
    let left = lengthBytes;
    for (let piece = await nextPiece(reader); piece !== null; piece = await nextPiece(reader)) {
      left -= piece.length;
      if (left < 0) break;
      await this.#write(piece);
    }
    if (left !== 0) throw new Error("the body did not have the length announced");
  }

  /** A body of unknown length: most are one piece, whose length is known when the next is asked for in vain. */
  async #writeUnmeasured(
    head: RequestHead | null,
    status: number,
    headers: [string, string][],
    keepAlive: boolean,
    first: Uint8Array,
    reader: Reader,
  ): Promise<void> {
    let piece = await nextPiece(reader);
    if (piece === null) {
      await this.#write(join(encodeHead(status, headers, { lengthBytes: first.length }, keepAlive), first));
      return;
    }
    if (head?.minorVersion === 0) {
      await this.#write(join(encodeHead(status, headers, "until-close", false), first));
      for (; piece !== null; piece = await nextPiece(reader)) await this.#write(piece);
      this.connection.end();
      return;
    }
    await this.#write(join(encodeHead(status, headers, "chunked", keepAlive), encodeChunk(first)));
    for (; piece !== null; piece = await nextPiece(reader)) await this.#write(encodeChunk(piece));
    await this.#write(utf8Encode(LAST_CHUNK));
  }

  #write(data: Uint8Array): Promise<void> {
    return this.#input.write(data, this.limits.writeMs);
  }
}

interface Reader {
  read(): Promise<{ readonly done: boolean; readonly value?: unknown }>;
  cancel(): Promise<void>;
}

/** The next piece with a byte in it; null at the end. */
async function nextPiece(reader: Reader): Promise<Uint8Array | null> {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return null;
    if ((value as Uint8Array).length > 0) return value as Uint8Array;
  }
}

function streamOf(body: BodyReader): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const piece = await body.read();
        if (piece === null) controller.close();
        else controller.enqueue(piece);
      },
    },
    { highWaterMark: 0 }, // otherwise Node's would read ahead
  );
}

/** What a client is told about an error: the error's own words, or none when they were not meant for it. */
export function errorResponse(error: unknown): Response {
  const known =
    error instanceof RequestError
      ? error
      : new RequestError(500, "internal_error", "The host failed to serve the request; its log says why.");
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (known.status === 401) headers["www-authenticate"] = "Bearer";
  if (known.status === 426) {
    headers.upgrade = "websocket";
    headers["sec-websocket-version"] = "13";
  }
  return new Response(errorBody(known), { status: known.status, headers });
}
