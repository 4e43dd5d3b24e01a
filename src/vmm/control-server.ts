/** The control protocol's server (control.ts): JSON lines over a Unix socket. */
import { messageOf, ThimbleError } from "../base/errors.ts";
import { CHORD_KEYS_MAX, CHORDS_MAX, isKeycode } from "../base/keys.ts";
import { Listener } from "../sys/listener.ts";
import type { EventLoop } from "../sys/loop.ts";
import type { Stream } from "../sys/stream.ts";
import { utf8Decode, utf8Encode } from "../sys/text.ts";
import type { DiskLimits } from "./config.ts";
import { parseLimits } from "./config-disk.ts";
import type { Chord, ControlEvent, ControlReply, ControlRequest, VmmStatus } from "./control.ts";

/** The longest request is a text to be typed: at most nine bytes a character. */
const LINE_MAX = 4096;
const CLIENTS_MAX = 16;
/** Replies and events that may wait for a client that does not read. */
const QUEUE_MAX = 64 * 1024;
const NEWLINE = 0x0a;

/** What a client may ask of the machine. */
export interface ControlTarget {
  status(): VmmStatus;
  powerButton(): void;
  reset(): void;
  stop(): void;
  pause(): void;
  resume(): void;
  /** See ControlCall. Throws ThimbleError. */
  sendKeys(chords: readonly Chord[]): void;
  balloon(targetBytes: number): void;
  /** See ControlCall. Throws ThimbleError. */
  limitDisk(index: number, limits: DiskLimits): void;
}

export class ControlServer {
  readonly #listener: Listener;
  readonly #target: ControlTarget;
  readonly #clients = new Set<Stream>();

  /** `listenFd` is a listening Unix socket. */
  constructor(loop: EventLoop, listenFd: number, target: ControlTarget) {
    this.#target = target;
    this.#listener = new Listener(loop, listenFd, (stream) => this.#attach(stream), {
      maxQueuedBytes: QUEUE_MAX,
    });
  }

  /** Tells every client. */
  send(event: ControlEvent): void {
    const line = encodeLine(event);
    for (const client of this.#clients) write(client, line);
  }

  get listenFd(): number {
    return this.#listener.fd;
  }

  #attach(stream: Stream): void {
    if (this.#clients.size === CLIENTS_MAX) {
      stream.close();
      return;
    }
    this.#clients.add(stream);
    stream.onClose = () => this.#clients.delete(stream);
    if (this.#target.status().state === "running") write(stream, encodeLine({ event: "running" }));
    void this.#serve(stream);
  }

  async #serve(stream: Stream): Promise<void> {
    try {
      const lines = new LineSplitter();
      for (let bytes = await stream.read(); bytes !== null; bytes = await stream.read()) {
        for (const line of lines.split(bytes)) write(stream, encodeLine(this.#answer(line)));
        if (lines.overflown) break;
      }
    } catch {
      // A client that went away without a word is no event for anybody.
    } finally {
      stream.close();
    }
  }

  #answer(line: string): ControlReply {
    const request = parseRequest(line);
    if (typeof request === "string") return { id: -1, ok: false, code: "bad_request", message: request };
    const { id } = request;
    try {
      if (request.op === "status") return { id, ok: true, result: this.#target.status() };
      if (request.op === "sendKeys") this.#target.sendKeys(request.chords);
      else if (request.op === "balloon") this.#target.balloon(request.targetBytes);
      else if (request.op === "limitDisk") this.#target.limitDisk(request.index, request.limits);
      else this.#target[request.op]();
      return { id, ok: true, result: null };
    } catch (error) {
      const code = error instanceof ThimbleError ? error.code : "failed";
      return { id, ok: false, code, message: messageOf(error) };
    }
  }
}

/** Those without arguments. */
type PlainOperation = Exclude<ControlRequest["op"], "sendKeys" | "balloon" | "limitDisk">;

const OPERATIONS: readonly string[] = [
  "status",
  "powerButton",
  "reset",
  "stop",
  "pause",
  "resume",
  "sendKeys",
  "balloon",
  "limitDisk",
] satisfies ControlRequest["op"][];

/** The request in a line, or what is wrong with it. */
export function parseRequest(line: string): ControlRequest | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "a request must be one JSON object a line";
  }
  if (typeof value !== "object" || value === null) return "a request must be a JSON object";
  const { id, op, chords, targetBytes, index, limits } = value as Readonly<Record<string, unknown>>;
  if (!isWhole(id)) return '"id" must be a whole number from 0';
  if (typeof op !== "string" || !OPERATIONS.includes(op))
    return `"op" must be one of ${OPERATIONS.join(", ")}`;
  if (op === "balloon") {
    if (isWhole(targetBytes)) return { id, op, targetBytes };
    return '"targetBytes" must be a whole number from 0';
  }
  if (op === "limitDisk") {
    if (!isWhole(index)) return '"index" must be a whole number from 0';
    try {
      return { id, op, index, limits: parseLimits(limits, "limits") };
    } catch (error) {
      return messageOf(error);
    }
  }
  if (op !== "sendKeys") return { id, op: op as PlainOperation };
  if (isChords(chords)) return { id, op, chords };
  return `"chords" must be 1 to ${CHORDS_MAX} arrays of 1 to ${CHORD_KEYS_MAX} keycodes`;
}

function isWhole(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isChords(value: unknown): value is Chord[] {
  const isList = (list: unknown, max: number): list is unknown[] =>
    Array.isArray(list) && list.length > 0 && list.length <= max;
  return (
    isList(value, CHORDS_MAX) &&
    value.every((chord) => isList(chord, CHORD_KEYS_MAX) && chord.every(isKeycode))
  );
}

/** Cuts a stream of bytes into lines of bounded length. */
export class LineSplitter {
  #rest = new Uint8Array(0);
  /** A line was longer than allowed; nothing more comes out. */
  overflown = false;

  split(bytes: Uint8Array): string[] {
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    const lines: string[] = [];
    let start = 0;
    for (let end = all.indexOf(NEWLINE); end >= 0 && !this.overflown; end = all.indexOf(NEWLINE, start)) {
      if (end - start > LINE_MAX) this.overflown = true;
      else lines.push(utf8Decode(all.subarray(start, end)));
      start = end + 1;
    }
    this.#rest = all.slice(start);
    if (this.#rest.length > LINE_MAX) this.overflown = true;
    return lines;
  }
}

function encodeLine(message: ControlReply | ControlEvent): Uint8Array {
  return utf8Encode(`${JSON.stringify(message)}\n`);
}

/** Writes without waiting; a client that takes nothing is dropped. */
function write(stream: Stream, line: Uint8Array): void {
  stream.write(line).catch(() => stream.close());
}
