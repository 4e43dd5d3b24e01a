/**
 * The head of an HTTP/1.1 request (RFC 9112, sections 2 to 7): request line and header fields.
 *
 * Bytes go in as they come, in pieces of any size, until the empty line. Where the RFC lets a server be lenient (bare
 * line feeds, folded lines, spaces before the colon, repeated lengths) this one refuses: leniency is how two parsers
 * come to disagree on where a request ends.
 */
import { RequestError } from "./errors.ts";

/** Request line and header fields together; a bearer token and a browser's headers fit several times. */
export const HEAD_SIZE_MAX = 16 * 1024;
/** RFC 9112, 3: recommended minimum is 8000; no path of the API is near it. */
export const TARGET_LENGTH_MAX = 4096;
export const HEADER_COUNT_MAX = 64;
/** A body of 1 PiB is larger than any datastore; below 2^53, so lengths are exact. */
const CONTENT_LENGTH_DIGITS_MAX = 15;
/** RFC 9112, 2.2: empty lines before a request are to be ignored; more than a stray one or two is no HTTP. */
const LEADING_EMPTY_LINES_MAX = 2;

const LF = 0x0a;
const CR = 0x0d;

const METHODS: readonly string[] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
/** RFC 9110, 5.6.2 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Visible characters, spaces and tabs inside, and the bytes above ASCII (RFC 9110, 5.5). */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** RFC 9112, 3.2.1: the origin form, with every percent sign an escape. */
const TARGET = /^\/(?:[!$&-;=?@A-Z[\]^_a-z|~]|%[0-9A-Fa-f]{2})*$/;
/** Fields that decide how a request is read, or by whom it was sent: a second one is an attempt at confusion. */
const SINGULAR: readonly string[] = [
  "host",
  "content-length",
  "transfer-encoding",
  "authorization",
  "upgrade",
];

/** How the end of a request's body is known (RFC 9112, 6.3). */
export type BodyFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly lengthBytes: number }
  | { readonly kind: "chunked" };

export interface RequestHead {
  readonly method: string;
  /** Path and query as sent, percent-encoded, beginning with `/`. */
  readonly target: string;
  /** HTTP/1.0 or HTTP/1.1. */
  readonly minorVersion: 0 | 1;
  /** Names in lower case, in the order they came. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly framing: BodyFraming;
  /** Whether the connection may serve another request. */
  readonly keepAlive: boolean;
  /** The client waits for "100 Continue" before it sends the body. */
  readonly expectsContinue: boolean;
}

type Fields = Pick<RequestHead, "headers" | "minorVersion">;

/** The value of a header field that may be there once; null when it is not. `name` is in lower case. */
export function headerOf(head: Fields, name: string): string | null {
  for (const [key, value] of head.headers) if (key === name) return value;
  return null;
}

/** The members of a comma-separated header field, in lower case. */
export function headerList(head: Fields, name: string): string[] {
  return head.headers
    .filter(([key]) => key === name)
    .flatMap(([, value]) => value.split(","))
    .map((item) => item.trim().toLowerCase())
    .filter((item) => item !== "");
}

/** Collects the bytes of one head. */
export class HeadParser {
  #bytes = new Uint8Array(1024);
  #used = 0;
  /** Where the line being received starts. */
  #lineStart = 0;
  #emptyLines = 0;
  #head: RequestHead | null = null;

  /** Whether anything but empty lines has come. */
  get started(): boolean {
    return this.#used > 0;
  }

  /** The head; null until `feed` has returned the rest. */
  get head(): RequestHead | null {
    return this.#head;
  }

  /**
   * Takes bytes. Returns null while the head goes on, and what follows the head once it is complete.
   * Throws RequestError for what is no valid request.
   */
  feed(input: Uint8Array): Uint8Array | null {
    let scanned = this.#used;
    const taken = Math.min(input.length, HEAD_SIZE_MAX + 2 - this.#used);
    this.#append(input.subarray(0, taken));
    for (;;) {
      const end = this.#bytes.subarray(0, this.#used).indexOf(LF, scanned);
      if (end < 0) break;
      if (end === 0 || this.#bytes[end - 1] !== CR) {
        throw badRequest("A line of the request does not end in CR LF.");
      }
      scanned = end + 1;
      const empty = end - 1 === this.#lineStart;
      this.#lineStart = scanned;
      if (!empty) continue;
      if (end > 1) {
        const rest = input.subarray(taken - (this.#used - scanned));
        this.#head = parseHead(latin1(this.#bytes.subarray(0, end - 1)));
        return rest;
      }
      // An empty line before the request: forget it.
      if (++this.#emptyLines > LEADING_EMPTY_LINES_MAX)
        throw badRequest("The request begins with empty lines.");
      this.#bytes.copyWithin(0, scanned, this.#used);
      this.#used -= scanned;
      this.#lineStart = 0;
      scanned = 0;
    }
    if (this.#used > HEAD_SIZE_MAX) {
      if (this.#lineStart === 0) throw targetTooLong();
      throw new RequestError(
        431,
        "headers_too_large",
        `The request's header fields take more than ${HEAD_SIZE_MAX} bytes.`,
      );
    }
    return null;
  }

  #append(input: Uint8Array): void {
    const needed = this.#used + input.length;
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, this.#used));
      this.#bytes = larger;
    }
    this.#bytes.set(input, this.#used);
    this.#used = needed;
  }
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function badRequest(message: string, code = "bad_request"): RequestError {
  return new RequestError(400, code, message);
}

function targetTooLong(): RequestError {
  return new RequestError(
    414,
    "target_too_long",
    `The request's path is longer than ${TARGET_LENGTH_MAX} characters.`,
  );
}

/** `text` is the head without the empty line, its last line ending in CR LF. */
function parseHead(text: string): RequestHead {
  const lines = text.split("\r\n");
  lines.pop(); // what follows the last CR LF
  const { method, target, minorVersion } = parseRequestLine(lines[0] as string);
  if (lines.length - 1 > HEADER_COUNT_MAX) {
    throw new RequestError(
      431,
      "too_many_headers",
      `The request has more than ${HEADER_COUNT_MAX} header fields.`,
    );
  }
  const headers = lines.slice(1).map(parseField);
  for (const name of SINGULAR) {
    if (headers.filter(([key]) => key === name).length > 1) {
      throw badRequest(`The request has more than one header field "${name}".`);
    }
  }
  const partial = { method, target, minorVersion, headers };
  if (minorVersion === 1 && headerOf(partial, "host") === null) {
    throw badRequest('An HTTP/1.1 request needs a header field "Host".');
  }
  const framing = parseFraming(partial);
  const connection = headerList(partial, "connection");
  const expectation = headerOf(partial, "expect");
  if (expectation !== null && expectation.toLowerCase() !== "100-continue") {
    throw new RequestError(417, "expectation_failed", 'The only expectation known is "100-continue".');
  }
  return {
    ...partial,
    framing,
    keepAlive: !connection.includes("close") && (minorVersion === 1 || connection.includes("keep-alive")),
    expectsContinue: expectation !== null && minorVersion === 1 && framing.kind !== "none",
  };
}

function parseRequestLine(line: string): Pick<RequestHead, "method" | "target" | "minorVersion"> {
  const parts = line.split(" ");
  if (parts.length !== 3) throw badRequest("The request line is not: method, path, version.");
  const [method, rawTarget, version] = parts as [string, string, string];
  if (!TOKEN.test(method)) throw badRequest("The request's method is malformed.");
  if (!/^HTTP\/[0-9]\.[0-9]$/.test(version)) throw badRequest("The request line has no HTTP version.");
  if (version !== "HTTP/1.1" && version !== "HTTP/1.0") {
    throw new RequestError(505, "version_not_supported", "This server speaks HTTP/1.1.");
  }
  if (!METHODS.includes(method)) {
    throw new RequestError(
      501,
      "method_not_implemented",
      `The method ${method.slice(0, 32)} is not known here.`,
    );
  }
  if (rawTarget.length > TARGET_LENGTH_MAX) throw targetTooLong();
  // The absolute form must be accepted (RFC 9112, 3.2.2); its authority says no more than Host.
  const target = rawTarget.replace(/^https?:\/\/[^/?#]*/i, "");
  if (!TARGET.test(target)) throw badRequest("The request's path is malformed.");
  return { method, target, minorVersion: version === "HTTP/1.1" ? 1 : 0 };
}

function parseField(line: string): readonly [string, string] {
  if (/^[ \t]/.test(line)) throw badRequest("Folded header fields are not accepted.");
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0));
  if (!TOKEN.test(name)) throw badRequest("A header field's name is malformed.");
  const value = line.slice(colon + 1);
  if (!FIELD_VALUE.test(value)) throw badRequest(`The header field "${name}" has control characters.`);
  return [name.toLowerCase(), value.replace(/^[ \t]+|[ \t]+$/g, "")];
}

function parseFraming(head: Fields): BodyFraming {
  const coding = headerOf(head, "transfer-encoding");
  const length = headerOf(head, "content-length");
  if (coding !== null) {
    if (length !== null) throw badRequest("The request has both Content-Length and Transfer-Encoding.");
    if (head.minorVersion === 0) throw badRequest("Transfer-Encoding needs HTTP/1.1.");
    if (coding.toLowerCase() !== "chunked") {
      throw new RequestError(501, "coding_not_implemented", 'The only transfer coding known is "chunked".');
    }
    return { kind: "chunked" };
  }
  if (length === null) return { kind: "none" };
  if (!/^[0-9]+$/.test(length)) throw badRequest("Content-Length is not a number.");
  if (length.length > CONTENT_LENGTH_DIGITS_MAX) {
    throw new RequestError(413, "body_too_large", "The request's body is larger than any datastore.");
  }
  return Number(length) === 0 ? { kind: "none" } : { kind: "length", lengthBytes: Number(length) };
}
