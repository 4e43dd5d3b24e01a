/** The part of the web-standard `Request` and `Response` (Fetch standard, 5.4 and 5.5) that a server and its router use. */
import { utf8Encode } from "../../sys/text.ts";
import { WebHeaders } from "./headers.ts";
import { WebReadableStream } from "./readable-stream.ts";

type HeadersInit = ConstructorParameters<typeof WebHeaders>[0];
type Body = WebReadableStream<Uint8Array>;

/** A body as a stream of its one piece. */
function bodyOf(content: Body | Uint8Array | string | null | undefined): Body | null {
  if (content === null || content === undefined) return null;
  if (content instanceof WebReadableStream) return content;
  let left: Uint8Array | null = typeof content === "string" ? utf8Encode(content) : content;
  return new WebReadableStream<Uint8Array>({
    pull(controller) {
      if (left !== null && left.length > 0) controller.enqueue(left);
      else controller.close();
      left = null;
    },
  });
}

export class WebRequest {
  readonly method: string;
  readonly headers: WebHeaders;
  readonly body: Body | null;

  constructor(
    readonly url: string,
    init: { method?: string; headers?: HeadersInit; body?: Body | Uint8Array | string | null } = {},
  ) {
    this.method = init.method ?? "GET";
    this.headers = new WebHeaders(init.headers);
    this.body = bodyOf(init.body);
  }
}

export class WebResponse {
  readonly status: number;
  readonly headers: WebHeaders;
  readonly body: Body | null;

  constructor(
    body?: Body | Uint8Array | string | null,
    init: { status?: number; headers?: HeadersInit } = {},
  ) {
    this.status = init.status ?? 200;
    this.headers = new WebHeaders(init.headers);
    this.body = bodyOf(body);
    if (typeof body === "string" && !this.headers.has("content-type")) {
      this.headers.set("content-type", "text/plain;charset=UTF-8");
    }
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }
}
