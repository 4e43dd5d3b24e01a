/** Answers as bytes (RFC 9112, sections 4, 6 and 7.1). */
import { utf8Encode } from "../../sys/text.ts";
import { join } from "../join.ts";

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  204: "No Content",
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  414: "URI Too Long",
  417: "Expectation Failed",
  426: "Upgrade Required",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
  507: "Insufficient Storage",
};

/** How the body of an answer is delimited. */
export type AnswerFraming = { readonly lengthBytes: number } | "chunked" | "until-close" | "no-body";

/** Status line and header fields with the empty line after them. */
export function encodeHead(
  status: number,
  headers: Iterable<readonly [string, string]>,
  framing: AnswerFraming,
  keepAlive: boolean,
): Uint8Array {
  let text = `HTTP/1.1 ${status} ${REASONS[status] ?? ""}\r\n`;
  for (const [name, value] of headers) text += `${name}: ${value}\r\n`;
  if (typeof framing === "object") text += `content-length: ${framing.lengthBytes}\r\n`;
  if (framing === "chunked") text += "transfer-encoding: chunked\r\n";
  // To be kept is the default of HTTP/1.1; older clients must be told.
  text += keepAlive ? "connection: keep-alive\r\n" : "connection: close\r\n";
  return utf8Encode(`${text}\r\n`);
}

/** One chunk of a chunked body. */
export function encodeChunk(data: Uint8Array): Uint8Array {
  return join(utf8Encode(`${data.length.toString(16)}\r\n`), data, utf8Encode("\r\n"));
}

export const LAST_CHUNK = "0\r\n\r\n";
