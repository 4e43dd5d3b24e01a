/**
 * Gives the image's runtime the web-standard classes that the router and the server are written against. Under Node,
 * which has its own, only a test that asks for it replaces them.
 */
import { WebHeaders } from "./headers.ts";
import { WebRequest, WebResponse } from "./messages.ts";
import { WebReadableStream } from "./readable-stream.ts";

export function installWebClasses(): void {
  Object.assign(globalThis, {
    Headers: WebHeaders,
    ReadableStream: WebReadableStream,
    Request: WebRequest,
    Response: WebResponse,
  });
}
